"""What people declare: who asked for how many GPUs, and what a GPU costs."""
