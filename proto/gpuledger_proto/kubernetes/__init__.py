"""Generated code of the Kubernetes interfaces that the agent asks: CRI and PodResources."""
