# SPDX-License-Identifier: AGPL-3.0-or-later
# dicom-router inside Orthanc, on Debian 13: Orthanc 1.12, Python 3.13. How to use it: docs/docker.md.

FROM debian:trixie-slim AS web
RUN apt-get -qq update && apt-get -qq install --yes --no-install-recommends ca-certificates npm python3 >/dev/null
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund --loglevel error
COPY .ci/vendor-web-modules .ci/
COPY plugin/web plugin/web
RUN python3 .ci/vendor-web-modules

FROM debian:trixie-slim AS packages
RUN apt-get -qq update && apt-get -qq install --yes --no-install-recommends ca-certificates python3-venv >/dev/null
WORKDIR /opt/dicom-router
COPY setup.py setup.cfg pyproject.toml README.md LICENSE ./
COPY plugin plugin
# Editable: the code is there once, for Orthanc and for the command line. The plugin finds the .venv beside it.
RUN python3 -m venv .venv && \
    .venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --editable '.[postgres]' && \
    .venv/bin/pip uninstall --quiet --yes pip && \
    python3 -m compileall -q plugin

FROM debian:trixie-slim
# The configuration of Debian's package goes: its files hold keys that yours may want, and no key may stand twice.
RUN apt-get -qq update && \
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends \
      ca-certificates orthanc orthanc-python python3 tzdata >/dev/null && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /etc/orthanc/* && \
    install --directory --owner=orthanc --group=orthanc /var/lib/orthanc/db
COPY --from=packages /opt/dicom-router /opt/dicom-router
COPY --from=web /src/plugin/web /opt/dicom-router/plugin/web
COPY docker/orthanc.json /etc/orthanc/
# Without TCP_NODELAY, Debian's Orthanc receives 5 to 10 times slower.
ENV TCP_NODELAY=1 PATH=/opt/dicom-router/.venv/bin:$PATH
USER orthanc
WORKDIR /var/lib/orthanc
VOLUME /var/lib/orthanc/db
EXPOSE 4242 8042
# Healthy is what answers, also with 401. An Orthanc that does not route still receives: /router/status tells.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python3", "-c", \
    "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8042, timeout=5); c.request('GET', '/system'); c.getresponse()"]
ENTRYPOINT ["Orthanc"]
CMD ["/etc/orthanc"]
