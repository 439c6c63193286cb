"""Airflow 3: the DAG file, and an Airflow of one's own on this machine."""
