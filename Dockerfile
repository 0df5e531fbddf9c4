# The service, the custodian and every other command in one image: `ownshelf …` as an account without rights.
# A build that is to be the same again gives both by digest and hash: docs/operate.md, Containers.
ARG PYTHON_IMAGE=python:3.11-slim
FROM ${PYTHON_IMAGE} AS build
ARG TORCH="torch==2.13.0"
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/ownshelf
# Everything but torch by version and hash. Torch from its CPU index, for the usual one brings gigabytes of CUDA; what it
# needs is in the lock file.
COPY requirements.lock ./
RUN /opt/ownshelf/bin/pip install --require-hashes -r requirements.lock
RUN printf '%s\n' "$TORCH" > torch.txt \
    && /opt/ownshelf/bin/pip install --no-deps --index-url https://download.pytorch.org/whl/cpu -r torch.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY data ./data
COPY recsys ./recsys
COPY federation ./federation
COPY serving ./serving
RUN /opt/ownshelf/bin/pip install --no-deps --no-build-isolation . && /opt/ownshelf/bin/pip check

FROM ${PYTHON_IMAGE}
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/ownshelf --create-home ownshelf
COPY --from=build /opt/ownshelf /opt/ownshelf
ENV PATH=/opt/ownshelf/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1 \
    OWNSHELF_HOST=0.0.0.0 \
    OWNSHELF_PORT=8000
USER 10001:10001
WORKDIR /var/lib/ownshelf
VOLUME /var/lib/ownshelf
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-m", "serving.process.health_probe"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["ownshelf"]
CMD ["serve", "/var/lib/ownshelf/bundle"]
