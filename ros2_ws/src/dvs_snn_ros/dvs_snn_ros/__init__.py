"""ROS 2 nodes over `dvs_snn`: `event_player`, `gesture`, `tracker`.

What can be done without ROS is done without it: `packets` (messages to events), `engine` (windows and inference in a
thread), `report` (counters to diagnostics), `convert` (decisions to messages); `perception` is the lifecycle node that
`gesture` and `tracker` share, `options` declares parameters from the dataclasses in `settings`; `launching` is
what the launch files share.
"""
