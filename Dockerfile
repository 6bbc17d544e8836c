# The container image; docs/container.md tells how it is built and run.

# Where Node and what it needs are taken from: one with npm and glibc.
ARG NODE_IMAGE=docker.io/library/node:26.10.0-trixie-slim
# What lies below. All that is needed is put upon it, the C library too, so it must have none of its own.
ARG BASE_IMAGE=scratch

# The bundle is the same for every platform, so it is made on the one that builds.
FROM --platform=$BUILDPLATFORM ${NODE_IMAGE} AS bundle
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN ["npm", "ci", "--ignore-scripts"]
COPY src src
COPY image image
RUN ["node", "image/bundle.ts", "dist/bundle"]

# Here it lies at the paths that it has in the end, as the compile cache is made by running it.
FROM ${NODE_IMAGE} AS assembly
ARG SOURCE_DATE_EPOCH=0
WORKDIR /opt/entrepot
COPY LICENSE package.json ./
COPY --from=bundle /src/dist/bundle dist/bundle
COPY image/assemble.ts image/compile-cache.ts /assembly/
RUN ["node", "/assembly/compile-cache.ts", "/opt/entrepot/cache"]
RUN ["node", "/assembly/assemble.ts", "/assembly/root"]

FROM ${BASE_IMAGE}
COPY --from=assembly /assembly/root/node /
COPY --from=assembly /assembly/root/program /
COPY --from=assembly /assembly/root/cache /
ENV PATH=/usr/local/bin \
    NODE_COMPILE_CACHE=/opt/entrepot/cache \
    MALLOC_ARENA_MAX=2 \
    LISTEN=:8080
# The content is in its folder `data`, as a volume may have things of its own at its top.
WORKDIR /var/lib/entrepot
VOLUME /var/lib/entrepot
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["node", "--max-semi-space-size=4", "--max-old-space-size=512", "/opt/entrepot/dist/bundle/main.js", "health"]
ENTRYPOINT ["node", "--max-semi-space-size=4", "--max-old-space-size=512", "/opt/entrepot/dist/bundle/main.js"]

ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="entrepot" \
      org.opencontainers.image.description="A pull-through caching mirror for OCI registries" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
