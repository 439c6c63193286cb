"""A task's graph in other places than one process: as a file for orchestrators, and Airflow on this machine."""
