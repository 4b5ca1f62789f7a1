"""A load generator for back ends, clip-retrieval's own as well: how large must the machine be?"""
