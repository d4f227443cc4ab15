"""What there is of us on a node, and what is wrong or about to be.

`read` gets the facts, in one place; `findings` judges them, and `view` gives them the shape that a person
or a program reads: both pure.
"""
