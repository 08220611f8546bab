"""The floor of the house: what may be done with a teacher's words, and the receipts.

Nothing here opens a socket, reads a clock or looks at the environment, so the same input gives the
same answer on the machine that collects, on the one that trains, and for somebody who only checks.

    register = load_register()
    decision = decide(use, register.find("deepseek-api", today), today, offering="deepseek-api")
    permit = require(decision, Action.COLLECT)      # or PolicyDenied, exit 3
"""
