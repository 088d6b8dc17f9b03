"""One page for a person who is not an engineer: what crossed, between whom, under which rule, and what was refused."""
