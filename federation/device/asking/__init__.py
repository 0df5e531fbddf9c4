"""How a device asks a service: downloads, and questions in the modes device, cluster, noised and profile."""
