# The service, the custodian and every other command in one image: `ownshelf …` as an account without rights.
FROM python:3.11-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/ownshelf
# Torch first and from its CPU index: the usual one brings gigabytes of CUDA.
RUN /opt/ownshelf/bin/pip install --index-url https://download.pytorch.org/whl/cpu torch==2.13.0
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY data ./data
COPY recsys ./recsys
COPY federation ./federation
COPY serving ./serving
RUN /opt/ownshelf/bin/pip install ".[hosts,otel]"

FROM python:3.11-slim
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
