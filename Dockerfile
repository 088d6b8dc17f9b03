# One zone's gateway. Build: docker build -t tdz-gateway .
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY gateway gateway
COPY ledger ledger
COPY policy policy
RUN python -m venv /opt/tdz \
 && /opt/tdz/bin/pip install --no-cache-dir --constraint constraints.txt '.[gateway]'

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin tdz \
 && install --directory --owner=tdz --group=tdz --mode=0700 /srv/zone \
 && install --directory --owner=tdz --group=tdz --mode=0755 /srv/policy
COPY --from=build /opt/tdz /opt/tdz
ENV PATH=/opt/tdz/bin:$PATH PYTHONUNBUFFERED=1
USER tdz
VOLUME ["/srv/zone", "/srv/policy"]
EXPOSE 8443
STOPSIGNAL SIGTERM
ENTRYPOINT ["tdz"]
CMD ["zone", "serve", "/srv/zone/home"]
