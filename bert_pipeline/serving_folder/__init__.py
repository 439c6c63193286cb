"""The folder that a server watches: versions, atomic pushes, and their record."""
