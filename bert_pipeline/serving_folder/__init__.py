"""The folder that a server watches: versions, atomic pushes, their record, and the verbs serve and predict."""
