"""What a server is told: flags, TF Serving's configuration files, the settings of its models."""
