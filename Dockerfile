# The gateway as a container image: one program of 28 MB on a base without a shell.
#
#   docker build --tag tokenbroker .
#   docker run --rm tokenbroker demo --once                  the gateway at work on pretend providers, no key needed
#   docker run --rm tokenbroker keys new team                a key for your applications, and its hash
#   docker run --publish 127.0.0.1:8080:8080 --volume tokenbroker-books:/srv/tokenbroker/tokenbroker-data \
#     --env DEEPSEEK_API_KEY --env TOKENBROKER__KEYS__TEAM__SHA256=... tokenbroker
#
# A container listens beyond loopback, so without a gateway key (or an explicit TOKENBROKER__SERVER__OPEN=true) `serve`
# refuses to start and says so; without a provider's key it names the variables it looked for. Settings of your own: mount a
# directory with a tokenbroker.toml over /etc/tokenbroker (config/container/tokenbroker.toml says what has to stay in it).
#
# The libraries: dynamic against glibc, on distroless/cc, rather than static against musl, whose allocator and resolver are not
# what any test of this project ran on. The base image also brings the CA certificates, time zones and an unprivileged user.
# No shell and no package manager is in it.
#
# Tags name exact versions. Who rebuilds in a pipeline should pin digests with a bot of theirs: none is written here because
# a digest that nobody moves keeps the holes of its day.

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build

# For scripts/ship. Without versions: Debian drops an old one with each update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends llvm openssl python3 \
    && rm -rf /var/lib/apt/lists/*

# Builds everything twice, whatever changed: the program that ships is laid out by what requests run through.
COPY Cargo.toml Cargo.lock providers.toml ./
COPY scripts/ship scripts/ship_counts.py scripts/ship_training.py scripts/
COPY config/bills config/bills
COPY src src
RUN scripts/ship \
    && mkdir books

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="tokenbroker" \
      org.opencontainers.image.description="An OpenAI-compatible gateway that sends each request to the cheapest adequate LLM provider and keeps exact books" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"

# The program's defaults are relative to where it starts, and this is laid out so that they fit: the table beside it, the
# books below. A configuration that is mounted over the image's need not name either.
WORKDIR /srv/tokenbroker
COPY LICENSE providers.toml ./
COPY config/container/tokenbroker.toml /etc/tokenbroker/tokenbroker.toml
COPY --from=build /build/target/ship/tokenbroker /usr/local/bin/tokenbroker
COPY --from=build --chown=65532:65532 /build/books tokenbroker-data
# It takes the name of the program for a secret:
# hadolint ignore=DL3064
ENV TOKENBROKER_CONFIG=/etc/tokenbroker/tokenbroker.toml

# By number: Kubernetes' runAsNonRoot cannot look a name up.
USER 65532:65532
VOLUME ["/srv/tokenbroker/tokenbroker-data"]
EXPOSE 8080 8079
STOPSIGNAL SIGTERM
# It asks /readyz, so a gateway whose books cannot be written is told as unhealthy. A drain is not: the engine asks no more then.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["/usr/local/bin/tokenbroker", "health"]
ENTRYPOINT ["/usr/local/bin/tokenbroker"]
CMD ["serve"]
