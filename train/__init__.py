"""Room two: teach a student from a frozen dataset directory.

Reads one directory, leaves another; never sees the ledger, the network or the environment.

    run = train(Path("datasets/support"), student, training, permit, Path("runs/sft"))
"""
