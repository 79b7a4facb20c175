# A node of a Ray cluster with the worker of zipar. From the repository:
#   docker build -f docker/ray.Dockerfile -t zipar-ray:2.60.0 .
# What runs it: docker/ray-job.yaml and docs/clusters.md.

FROM python:3.12-slim-bookworm
# wget is what KubeRay asks with whether a node is well.
RUN apt-get update \
  && apt-get install -y --no-install-recommends procps wget \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --uid 1000 --create-home ray \
  && install -d -o ray /models
WORKDIR /opt/zipar
COPY python-worker/requirements-ray.lock python-worker/
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r python-worker/requirements-ray.lock
COPY python-worker/start.py python-worker/
COPY python-worker/zipar_worker python-worker/zipar_worker
COPY python-worker/zipar_ray python-worker/zipar_ray
COPY checkpoints checkpoints
# What is fetched from the hub; the NVIDIA runtime reads the rest.
ENV PYTHONPATH=/opt/zipar/python-worker HF_HOME=/models NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
VOLUME /models
