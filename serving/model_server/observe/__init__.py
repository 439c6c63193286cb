"""What a server shows of itself: metrics, request logs, the log of refusals."""
