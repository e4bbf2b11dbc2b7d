"""What the fleet decides, as values: the life of a worker, names, routing and queues, restarts, fencing. All pure."""
