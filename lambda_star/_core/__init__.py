"""What every wing stands on: the quantities, array namespaces, and kernels made into functions."""
