"""What a server is configured by: flags, TF Serving's configuration files, the settings of its models."""
