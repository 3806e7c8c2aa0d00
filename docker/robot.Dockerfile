# The detector on a robot: ROS 2 Jazzy, no display, no training. See docs/install.md.
#
#   docker build -f docker/robot.Dockerfile -t asd_perception .
#   docker run --rm --network host --ipc host --gpus all asd_perception device:=cuda
FROM ros:jazzy-ros-base

WORKDIR /ws
# On a GPU, Triton and torch.compile need a C compiler and Python's headers.
# The dependencies first: they change less often than the code.
COPY package.xml pyproject.toml constraints.txt src/asd_perception/
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv build-essential python3-dev \
    && rosdep update --rosdistro jazzy \
    && rosdep install --from-paths src --ignore-src --dependency-types exec -y \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -c "import tomllib; \
project = tomllib.load(open('src/asd_perception/pyproject.toml', 'rb'))['project']; \
print(*project['dependencies'], *project['optional-dependencies']['onnx'], sep='\n')" > requirements.txt \
    && python3 -m venv --system-site-packages venv \
    && touch venv/COLCON_IGNORE \
    && venv/bin/pip install --no-cache-dir -c src/asd_perception/constraints.txt -r requirements.txt

COPY . src/asd_perception
ENV PATH=/ws/venv/bin:$PATH
RUN pip install --no-cache-dir --no-deps ./src/asd_perception \
    && . /opt/ros/jazzy/setup.sh \
    && python -m colcon build --packages-select asd_perception

ENTRYPOINT ["bash", "-c", "source /opt/ros/jazzy/setup.bash && source install/setup.bash \
    && exec ros2 launch asd_perception detector.launch.py \"$@\"", "detector"]
