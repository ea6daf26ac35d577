# fptkit in a container. Weights of its own are inside; models of the hub go to the volume /home/fptkit/.cache.
#
#   docker build --target cpu -t fptkit:cpu .
#   docker build --target cuda -t fptkit:cuda .
#   docker run --rm -v "$PWD:/work" fptkit:cpu run homology_gpt2 --profile smoke
#   docker run --rm --gpus all -v "$PWD:/work" fptkit:cuda run homology_gpt2
#
# --build-arg EXTRAS=parquet,tensorboard adds extras of pyproject.toml.

FROM python:3.12-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY fptkit ./fptkit
COPY recipes ./recipes
RUN pip install --no-cache-dir "hatchling>=1.24" && python -m hatchling build -t wheel -d /wheel

FROM python:3.12-slim AS base
# The C kernels of fptkit are compiled on first use; without a compiler it runs torch's operations instead.
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ libc6-dev libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home fptkit && mkdir -p /work /home/fptkit/.cache && chown -R fptkit /work /home/fptkit/.cache
COPY --from=wheel /wheel /wheel

FROM base AS cpu
ARG EXTRAS=""
# PyTorch's own index has the small wheels without CUDA.
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu \
    && pip install --no-cache-dir "$(ls /wheel/*.whl)${EXTRAS:+[$EXTRAS]}"
USER fptkit
WORKDIR /work
VOLUME /home/fptkit/.cache
ENTRYPOINT ["fptkit"]
CMD ["--help"]

FROM base AS cuda
ARG EXTRAS=""
# The wheels of PyPI bring CUDA's libraries; the host needs NVIDIA's driver and container toolkit only.
RUN pip install --no-cache-dir "$(ls /wheel/*.whl)${EXTRAS:+[$EXTRAS]}"
USER fptkit
WORKDIR /work
VOLUME /home/fptkit/.cache
ENTRYPOINT ["fptkit"]
CMD ["--help"]
