"""The kinds of things in scenes, and the nouns for them.

A line of :data:`TABLE` is a kind: name, plural, synonyms, emoji, size (1 to 3), where it is drawn, and the settings in
which it is usual. All of COCO's categories for which there is an emoji are here.
"""

from dataclasses import dataclass

TABLE = """
# people
boy|boys||👦|2|ground|street meadow beach snow park room forest
girl|girls||👧|2|ground|street meadow beach snow park room forest
man|men|guy/guys|👨|2|ground|street meadow beach park room mountains
woman|women|lady/ladies|👩|2|ground|street meadow beach park room mountains
old man|old men|grandfather/grandfathers|👴|2|ground|street park room farm
old woman|old women|grandmother/grandmothers,old lady/old ladies|👵|2|ground|street park room farm
baby|babies|infant/infants|👶|2|ground|room park meadow
police officer|police officers|policeman/policemen|👮|2|ground|street park
firefighter|firefighters|fireman/firemen|🧑‍🚒|2|ground|street forest
cook|cooks|chef/chefs|🧑‍🍳|2|ground|room street
farmer|farmers||🧑‍🌾|2|ground|farm meadow
astronaut|astronauts|spaceman/spacemen|🧑‍🚀|2|ground|desert stage mountains
singer|singers|rock star/rock stars|🧑‍🎤|2|ground|stage room
bride|brides||👰|2|ground|park beach stage
santa claus|santa clauses|santa/santas|🎅|2|ground|snow room street
clown|clowns||🤡|2|ground|stage park
woman riding a bike|women riding bikes|woman on a bicycle/women on bicycles,woman on a bike/women on bikes,woman riding a bicycle/women riding bicycles|🚴‍♀️|3|ground|street park meadow
man riding a horse|men riding horses|rider on a horse/riders on horses,jockey/jockeys|🏇|3|ground|meadow farm desert
surfer|surfers|man surfing/men surfing|🏄|3|water|sea beach
skier|skiers|man skiing/men skiing|⛷️|3|ground|snow mountains
snowboarder|snowboarders||🏂|3|ground|snow mountains
swimmer|swimmers|man swimming/men swimming|🏊|3|water|sea lake
dancer|dancers|woman dancing/women dancing|💃|3|ground|stage street
# animals
dog|dogs|puppy/puppies|🐕|2|ground|street meadow beach snow park room
cat|cats|kitten/kittens|🐈|2|ground|street park room farm
horse|horses||🐎|3|ground|meadow farm desert
cow|cows||🐄|3|ground|meadow farm
sheep|sheep||🐑|2|ground|meadow farm mountains
goat|goats||🐐|2|ground|meadow farm mountains
pig|pigs||🐖|2|ground|farm meadow
rooster|roosters||🐓|2|ground|farm street
elephant|elephants||🐘|3|ground|meadow desert forest
giraffe|giraffes||🦒|3|ground|meadow desert park
zebra|zebras||🦓|3|ground|meadow desert
lion|lions||🦁|2|ground|meadow desert
tiger|tigers||🐅|3|ground|forest meadow
bear|bears||🐻|2|ground|forest snow mountains
panda|pandas||🐼|2|ground|forest
monkey|monkeys||🐒|2|ground|forest park
kangaroo|kangaroos||🦘|2|ground|desert meadow
camel|camels||🐫|3|ground|desert
rhinoceros|rhinoceroses|rhino/rhinos|🦏|3|ground|meadow desert
crocodile|crocodiles|alligator/alligators|🐊|3|ground|lake desert
rabbit|rabbits|bunny/bunnies|🐇|1|ground|meadow forest snow
squirrel|squirrels|chipmunk/chipmunks|🐿️|1|ground|forest park
fox|foxes||🦊|2|ground|forest snow
hedgehog|hedgehogs||🦔|1|ground|forest meadow
turtle|turtles|tortoise/tortoises|🐢|2|ground|beach lake
snake|snakes||🐍|2|ground|desert forest
frog|frogs||🐸|1|ground|lake forest
penguin|penguins||🐧|2|ground|snow
bird|birds||🐦|1|air|sky forest park beach
parrot|parrots||🦜|2|ground|forest room
owl|owls||🦉|2|ground|forest
duck|ducks||🦆|2|water|lake farm
swan|swans||🦢|2|water|lake
flamingo|flamingos||🦩|2|ground|lake beach
peacock|peacocks||🦚|2|ground|park farm
eagle|eagles||🦅|2|air|sky mountains
bat|bats||🦇|2|air|sky forest
butterfly|butterflies||🦋|1|air|meadow park
bee|bees||🐝|1|air|meadow farm
ladybug|ladybugs||🐞|1|ground|meadow forest
snail|snails||🐌|1|ground|meadow forest
spider|spiders||🕷️|1|ground|room forest
fish|fish||🐟|2|water|sea lake
shark|sharks||🦈|3|water|sea
whale|whales||🐳|3|water|sea
dolphin|dolphins||🐬|3|water|sea
octopus|octopuses||🐙|2|water|sea
crab|crabs||🦀|1|ground|beach
dinosaur|dinosaurs|t-rex/t-rexes|🦖|3|ground|forest desert
unicorn|unicorns||🦄|2|ground|meadow forest stage
# vehicles
bicycle|bicycles|bike/bikes|🚲|2|ground|street park
car|cars||🚗|2|ground|street desert
taxi|taxis|cab/cabs|🚕|2|ground|street
bus|buses||🚌|3|ground|street
truck|trucks|lorry/lorries|🚚|3|ground|street farm
fire truck|fire trucks|fire engine/fire engines|🚒|3|ground|street
ambulance|ambulances||🚑|3|ground|street
tractor|tractors||🚜|3|ground|farm meadow
motorcycle|motorcycles|motorbike/motorbikes|🏍️|2|ground|street desert
scooter|scooters||🛴|2|ground|street park
train|trains|locomotive/locomotives|🚂|3|ground|mountains desert meadow
airplane|airplanes|plane/planes|✈️|2|air|sky
helicopter|helicopters||🚁|2|air|sky mountains
rocket|rockets||🚀|2|air|sky desert
ufo|ufos|flying saucer/flying saucers|🛸|2|air|sky desert
sailboat|sailboats|sailing boat/sailing boats|⛵|2|water|sea lake
ship|ships|cruise ship/cruise ships|🚢|3|water|sea
canoe|canoes|kayak/kayaks|🛶|2|water|lake sea
# food
apple|apples||🍎|1|table|table room
banana|bananas||🍌|1|table|table room
orange|oranges||🍊|1|table|table
strawberry|strawberries||🍓|1|table|table
watermelon|watermelons|slice of watermelon/slices of watermelon|🍉|2|table|table beach
pineapple|pineapples||🍍|2|table|table
lemon|lemons||🍋|1|table|table
head of broccoli|heads of broccoli|broccoli/broccolis|🥦|1|table|table
carrot|carrots||🥕|1|table|table farm
ear of corn|ears of corn|corn cob/corn cobs|🌽|1|table|table farm
sandwich|sandwiches||🥪|2|table|table
hot dog|hot dogs||🌭|2|table|table
hamburger|hamburgers|burger/burgers|🍔|2|table|table
pizza|pizzas|slice of pizza/slices of pizza|🍕|2|table|table
donut|donuts|doughnut/doughnuts|🍩|1|table|table
cookie|cookies||🍪|1|table|table
birthday cake|birthday cakes|birthday cake with candles/birthday cakes with candles,cake with candles/cakes with candles|🎂|2|table|table room
cake|cakes|piece of cake/pieces of cake,slice of cake/slices of cake|🍰|2|table|table
ice cream|ice creams|ice cream cone/ice cream cones|🍦|1|table|table beach
loaf of bread|loaves of bread||🍞|2|table|table
piece of cheese|pieces of cheese||🧀|2|table|table
piece of sushi|pieces of sushi||🍣|1|table|table
cup of coffee|cups of coffee|coffee cup/coffee cups,cup/cups|☕|1|table|table room
glass of wine|glasses of wine|wine glass/wine glasses|🍷|1|table|table
beer|beers|glass of beer/glasses of beer|🍺|1|table|table
# things of house
fork|forks||🍴<|3|table|table
spoon|spoons||🥄|1|table|table
knife|knives||🍴>|3|table|table
bowl|bowls|bowl of soup/bowls of soup|🍜|2|table|table
bottle|bottles||🍾|2|table|table
vase|vases||🏺|2|table|table room
book|books|open book/open books|📖|2|table|table room park
laptop|laptops|notebook computer/notebook computers|💻|2|table|table room
keyboard|keyboards||⌨️|2|table|table
cell phone|cell phones|phone/phones,smartphone/smartphones|📱|1|table|table
clock|clocks|alarm clock/alarm clocks|⏰|1|table|table room
pair of scissors|pairs of scissors||✂️|1|table|table
camera|cameras||📷|1|table|table room
television|televisions|tv/tvs|📺|2|table|room table
chair|chairs||🪑|2|ground|room park
couch|couches|sofa/sofas|🛋️|3|ground|room
bed|beds||🛏️|3|ground|room
toilet|toilets||🚽|2|ground|room
bathtub|bathtubs|bath/baths|🛁|3|ground|room
light bulb|light bulbs|lamp/lamps|💡|1|table|table room
candle|candles||🕯️|1|table|table room
teddy bear|teddy bears||🧸|2|ground|room meadow park
robot|robots||🤖|2|ground|room stage street
suitcase|suitcases|bag/bags|🧳|2|ground|street room beach
backpack|backpacks||🎒|2|ground|room mountains park
umbrella|umbrellas|beach umbrella/beach umbrellas,parasol/parasols|⛱️|3|ground|beach
gift|gifts|present/presents|🎁|2|ground|room snow
balloon|balloons||🎈|1|air|park stage sky room
hat|hats|top hat/top hats|🎩|2|table|table stage
# sport and music
soccer ball|soccer balls|football/footballs|⚽|1|ground|meadow park beach
basketball|basketballs||🏀|1|ground|park street
tennis racket|tennis rackets|racket/rackets|🎾|2|ground|park
baseball|baseballs||⚾|1|ground|meadow park
skateboard|skateboards||🛹|2|ground|street park
kite|kites||🪁|2|air|beach meadow sky park
frisbee|frisbees||🥏|1|ground|park beach meadow
guitar|guitars||🎸|2|ground|stage room
piano|pianos|musical keyboard/musical keyboards|🎹|2|ground|stage room
drum|drums||🥁|2|ground|stage
violin|violins||🎻|2|ground|stage room
trumpet|trumpets||🎺|2|ground|stage
microphone|microphones|mic/mics|🎤|1|ground|stage
# nature and place
tree|trees||🌳|3|ground|meadow park forest farm
palm tree|palm trees|palm/palms|🌴|3|ground|beach desert
christmas tree|christmas trees||🎄|3|ground|snow room
cactus|cacti||🌵|3|ground|desert
flower|flowers|tulip/tulips|🌷|1|ground|meadow park farm
sunflower|sunflowers||🌻|2|ground|meadow farm
mushroom|mushrooms|toadstool/toadstools|🍄|1|ground|forest meadow
potted plant|potted plants|plant/plants,house plant/house plants|🪴|2|table|room table
house|houses|home/homes|🏠|3|ground|meadow mountains farm snow
tent|tents||⛺|3|ground|forest mountains lake
castle|castles||🏰|3|ground|mountains meadow
traffic light|traffic lights||🚦|2|ground|street
stop sign|stop signs||🛑|2|ground|street
fence|fences|wooden fence/wooden fences|fence|3|ground|meadow farm park
snowman|snowmen||⛄|3|ground|snow
rainbow|rainbows||🌈|3|air|sky meadow
"""


HYPERNYMS = {"people": ("person", "people"), "animals": ("animal", "animals"), "vehicles": ("vehicle", "vehicles")}
"""What a whole section of the table is called, in the singular and the plural."""

TOGETHER = (
    ("room", "girl", "book"),
    ("room", "boy", "book"),
    ("park", "girl", "book"),
    ("room", "old man", "book"),
    ("room", "old woman", "cat"),
    ("room", "baby", "teddy bear"),
    ("room", "girl", "teddy bear"),
    ("room", "couch", "television"),
    ("room", "cat", "couch"),
    ("room", "christmas tree", "gift"),
    ("room", "birthday cake", "balloon"),
    ("table", "birthday cake", "cup of coffee"),
    ("table", "cake", "fork"),
    ("table", "cake", "fork", "knife"),
    ("table", "cake", "cup of coffee"),
    ("table", "donut", "cup of coffee"),
    ("table", "fork", "knife"),
    ("table", "pizza", "glass of wine"),
    ("table", "hamburger", "beer"),
    ("table", "laptop", "cup of coffee"),
    ("table", "apple", "banana"),
    ("street", "woman riding a bike", "car"),
    ("street", "woman riding a bike", "bus", "car"),
    ("street", "bicycle", "car"),
    ("street", "bus", "taxi"),
    ("street", "police officer", "car"),
    ("street", "firefighter", "fire truck"),
    ("street", "traffic light", "car"),
    ("park", "bicycle", "tree"),
    ("park", "boy", "soccer ball"),
    ("park", "boy", "kite"),
    ("park", "dog", "frisbee"),
    ("beach", "dog"),
    ("beach", "dog", "umbrella"),
    ("beach", "surfer", "palm tree"),
    ("meadow", "giraffe", "fence"),
    ("meadow", "giraffe", "fence", "tree"),
    ("park", "giraffe", "fence"),
    ("park", "giraffe", "fence", "tree"),
    ("meadow", "giraffe", "zebra"),
    ("meadow", "horse", "fence"),
    ("farm", "cow", "tractor"),
    ("farm", "farmer", "sheep"),
    ("farm", "farmer", "tractor"),
    ("farm", "cow", "sheep"),
    ("meadow", "butterfly", "flower"),
    ("snow", "snowman", "girl"),
    ("snow", "penguin", "snowman"),
    ("mountains", "skier", "house"),
    ("desert", "camel", "palm tree"),
    ("forest", "tent", "bear"),
    ("lake", "duck", "swan"),
    ("sea", "sailboat", "dolphin"),
    ("sky", "airplane", "bird"),
    ("stage", "singer", "guitar"),
    ("stage", "singer", "microphone"),
)
"""A setting, and things that photographs often show there together."""

CHILDREN = ("boy", "girl")
CHILD_WORDS = [("child", "children"), ("kid", "kids")]


@dataclass(frozen=True)
class Kind:
    """A kind of thing.

    Attributes:
        name: its first word, which also names it in scenes.
        section: of the table.
        words: singular and plural, the name's first, then synonyms'.
        emoji: its character; a ``<`` or ``>`` after it selects the left or the right half of its image.
        size: 1 to 3.
        place: ``"ground"``, ``"table"``, ``"air"`` or ``"water"``.
        settings: where it is usual.
    """

    name: str
    section: str
    words: tuple[tuple[str, str], ...]
    emoji: str
    size: int
    place: str
    settings: tuple[str, ...]


def _parse() -> dict[str, Kind]:
    kinds, section = {}, ""
    for line in TABLE.strip().splitlines():
        if line.startswith("# "):
            section = line[2:]
            continue
        name, plural, synonyms, emoji, size, place, settings = line.split("|")
        words = [(name, plural)]
        for pair in synonyms.split(",") if synonyms else []:
            singular, several = pair.split("/")
            words.append((singular, several))
        if name in CHILDREN:
            words += CHILD_WORDS
        kinds[name] = Kind(name, section, tuple(words), emoji, int(size), place, tuple(settings.split()))
    return kinds


KINDS: dict[str, Kind] = _parse()
KIND_ROWS: dict[str, int] = {kind: row for row, kind in enumerate(KINDS)}
"""The position of each kind in a vector of counts."""
