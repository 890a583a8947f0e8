"""What people know of a signature: said once, shown in every thread of it."""
