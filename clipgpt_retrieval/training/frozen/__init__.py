"""The frozen recipe: hidden states computed once, closed forms, and a fusion trained on them."""
