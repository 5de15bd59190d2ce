"""The program that runs Lava: a process of its own, started by `deploy.lava_client`, never imported by the library.

Its folder is the first on that process's path and needs numpy and lava-nc only, so it may run on another interpreter.
Lava's compiler imports every module beside a process to look for models: each process has a package of its own.
"""
