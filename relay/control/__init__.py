"""Decides which arrows of the flow are open, and shows the operator what is going on.

`Coordinator` keeps the mode of each service of the primary; `Probing` asks the primary, in one worker at a time
(`Singleton`); `Sampler` says how the node is; `http` answers Prometheus, health checks and `relay status`.
"""
