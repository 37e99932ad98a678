# docker build -t weir .
# docker run --rm -p 8080:8080 -v "$PWD/weir.yaml:/etc/weir/weir.yaml:ro" weir

FROM rust:1.95-bookworm AS build
# zlib-ng, which Pingora brings, is built with cmake.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin weir \
    && install -D -m 0755 target/release/weir /out/usr/bin/weir \
    && install -d -m 0755 /out/etc/weir

# glibc, the CA bundle and a user that is not root; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/ /
# Ports under 1024 need no privilege in a container; weir's examples use these.
EXPOSE 8080 8443
# Asks the admin listener of the process in this container: 0 when it is ready.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["/usr/bin/weir", "status"]
# Readiness fails, nothing new is accepted, what is in flight is finished within drain_timeout.
STOPSIGNAL SIGTERM
CMD ["/usr/bin/weir", "run", "-c", "/etc/weir/weir.yaml"]
