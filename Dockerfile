# syntax=docker/dockerfile:1
# Two images of one build: `docker build --target cpu .` and `docker build --target cuda .`
# The CUDA libraries come as wheels with onnxruntime-gpu; the host brings the driver
# (nvidia-container-toolkit). Neither image holds torch.

FROM python:3.11.14-slim-trixie AS source
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY dicom_sr dicom_sr
COPY model_export model_export

FROM python:3.11.14-slim-trixie AS base
# pg_dump and pg_restore, for `secondread backup` with PostgreSQL 17: they must be of the server's version.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client-17 \
    && rm -rf /var/lib/apt/lists/*
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    SECONDREAD_DATA_DIR=/var/lib/secondread \
    SECONDREAD_INGEST__HOST=0.0.0.0 \
    SECONDREAD_MONITORING__HOST=0.0.0.0
RUN groupadd --gid 10001 secondread \
    && useradd --uid 10001 --gid 10001 --no-create-home secondread \
    && install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/secondread

FROM base AS cpu
RUN --mount=type=bind,from=source,source=/src,target=/src,rw \
    pip install '/src[cpu,postgres,s3,triton]'
USER 10001:10001
WORKDIR /var/lib/secondread
VOLUME /var/lib/secondread
EXPOSE 2575 11112 8180 9108 9109 9110 9111 9112 9113
# Asks /healthz of whichever process runs in the container.
HEALTHCHECK --interval=30s --timeout=15s --start-period=120s CMD ["python", "-m", "service.healthcheck"]
ENTRYPOINT ["secondread"]
CMD ["up"]

FROM base AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    SECONDREAD_ANALYSIS__REQUIRE_GPU=true
RUN --mount=type=bind,from=source,source=/src,target=/src,rw \
    pip install '/src[gpu,postgres,s3]' 'onnxruntime-gpu[cuda,cudnn]>=1.20,<2'
USER 10001:10001
WORKDIR /var/lib/secondread
VOLUME /var/lib/secondread
EXPOSE 2575 11112 8180 9108 9109 9110 9111 9112 9113
# Asks /healthz of whichever process runs in the container.
HEALTHCHECK --interval=30s --timeout=15s --start-period=120s CMD ["python", "-m", "service.healthcheck"]
ENTRYPOINT ["secondread"]
CMD ["up"]
