#!/bin/bash
# loop.sh N tag args: run pytest N times
cd /tmp/w/h/waits; export PATH=/work/main/.venv/bin:$PATH PYTHONPATH=$PWD ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_DOMAIN_ID=103
N=$1; TAG=$2; shift 2
python -c "
while True: pass" & BURN=$!
for i in $(seq $N); do nice python -m pytest -q -x -p no:cacheprovider --durations=5 "$@" > /tmp/w/me/waits/$TAG.$i.log 2>&1; echo "$TAG $i rc=$? $(tail -1 /tmp/w/me/waits/$TAG.$i.log)"; done
kill $BURN
