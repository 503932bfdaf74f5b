# The relay in a container: one non-root process group, one volume, nothing else that is written to.
#
#   docker build -t standby-relay .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --stop-timeout 45 \
#       --sysctl net.ipv4.ip_unprivileged_port_start=0 -v relay-data:/var/lib/relay \
#       -v ./relay.toml:/etc/relay/relay.toml:ro -p 25:25 standby-relay
#
# deploy/prove-container.sh builds and runs this file without a container engine.
ARG BASE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE} AS build
# Everything from the lock files, by hash: a changed or missing artefact stops the build. Wheels only, but for dkimpy,
# which is published as source: it is built with the pinned setuptools, not in an environment that fetches another.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements.lock deploy/requirements-build.lock ./
RUN python3 -m venv --without-pip /opt/relay && python3 -m venv --without-pip /opt/build \
 && python3 -m pip --python /opt/build/bin/python install --require-hashes --only-binary :all: -r requirements-build.lock \
 && python3 -m pip --python /opt/build/bin/python wheel --require-hashes --only-binary :all: --no-binary dkimpy \
        --no-build-isolation -r requirements.lock -w /tmp/wheels \
 && python3 -m pip --python /opt/relay/bin/python install --no-deps --no-index /tmp/wheels/*.whl
COPY pyproject.toml README.md LICENSE ./
COPY relay ./relay
RUN /opt/build/bin/hatchling build -t wheel -d /tmp/wheel \
 && python3 -m pip --python /opt/relay/bin/python install --no-deps --no-index /tmp/wheel/*.whl

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="standby-relay" \
      org.opencontainers.image.description="Takes the mail when the primary is down, lets users read it, gives it back once." \
      org.opencontainers.image.licenses="GPL-3.0-or-later" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim-bookworm"
# A fixed number, so that files on a volume keep their owner from image to image. The volume's mount point exists in the
# image with that owner: a new named volume takes it over, and the relay can write to it without ever being root.
RUN groupadd --gid 10001 relay \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/relay --shell /usr/sbin/nologin relay \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/relay \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/relay-key \
 && install -d -o 0 -g 10001 -m 0750 /etc/relay
COPY --from=build /opt/relay /opt/relay
ENV PATH=/opt/relay/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONFAULTHANDLER=1
USER 10001:10001
WORKDIR /var/lib/relay
VOLUME /var/lib/relay
# mx, submission, submissions, imap, imaps, http (metrics and health)
EXPOSE 25 587 465 143 993 8080
# Drain: no new connections, transactions under way end or get 421, leases are given back. Allow 45 s before SIGKILL; a
# kill loses nothing, it only makes the next start settle what was under way.
STOPSIGNAL SIGTERM
# Liveness, not readiness: a full disk must not get the node that holds the mail restarted.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["relay", "status", "--live", "-c", "/etc/relay/relay.toml"]
ENTRYPOINT ["relay"]
CMD ["run", "-c", "/etc/relay/relay.toml"]
