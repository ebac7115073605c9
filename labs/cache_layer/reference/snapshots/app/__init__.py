"""A products API whose cache takes a load only if its snapshot saw every write."""
