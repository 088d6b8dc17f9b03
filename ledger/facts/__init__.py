"""What the entries of one or two logs say, as rows of flat tables: the ground of `sql`, `report` and `diff-peer`."""
