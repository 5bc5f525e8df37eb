"""The projector: a process beside the engine that folds the journal into read models and snapshots.

One interpreter cannot both trade and project, and a living engine never stops to dump its state. So
this process reads the journal like anybody else, without its lock; it may be killed at any moment.

projection      follows the journal and hands on rows, exactly once
projector       the whole life: rows, snapshots, lag; and the rebuild of the read models
process         keeps such a process running beside an engine
"""
