import assert from "node:assert/strict";
import { test } from "node:test";
import { isListedRealm, judgeRealm, mayReceiveCredentials } from "../../../src/upstream/realm.ts";

const rows: [realm: string, upstream: string, trust: ReturnType<typeof judgeRealm>][] = [
  // The registries of protocol.md §2.2.
  ["https://auth.docker.io/token", "https://registry-1.docker.io", "trusted"],
  ["https://ghcr.io/token", "https://ghcr.io", "trusted"],
  ["https://quay.io/v2/auth", "https://quay.io", "trusted"],
  ["https://gitlab.com/jwt/auth", "https://registry.gitlab.com", "trusted"],
  ["https://docker-auth.elastic.co/auth", "https://docker.elastic.co", "trusted"],
  ["https://git.example.com/jwt/auth", "https://reg.example.com:4567", "trusted"],
  ["https://authn.nvidia.com/token", "https://nvcr.io", "foreign"],
  // Other sites.
  ["https://evil.example/token", "https://registry.example.com", "foreign"],
  ["https://docker.io.evil.example/token", "https://registry-1.docker.io", "foreign"],
  ["https://evildocker.io/token", "https://registry-1.docker.io", "foreign"],
  ["https://registry-1.docker.io@evil.example/token", "https://registry-1.docker.io", "refused"],
  ["https://user:password@auth.docker.io/token", "https://registry-1.docker.io", "refused"],
  // Public suffixes, private ones included, join no site.
  ["https://other.github.io/token", "https://mine.github.io", "foreign"],
  ["https://other.co.uk/token", "https://mine.co.uk", "foreign"],
  ["https://b.s3.amazonaws.com/token", "https://a.s3.amazonaws.com", "foreign"],
  // Nor do names that providers give to customers.
  ["https://mallory.azurecr.io/oauth2/token", "https://acme.azurecr.io", "foreign"],
  ["https://acme.azurecr.io/oauth2/token", "https://acme.azurecr.io", "trusted"],
  ["https://acme.azurecr.io/oauth2/token", "https://acme.geo.azurecr.io", "foreign"],
  ["https://mallory.azurecr.cn/token", "https://acme.azurecr.cn", "foreign"],
  ["https://mallory.jfrog.io/token", "https://acme.jfrog.io", "foreign"],
  ["https://2.dkr.ecr.eu-west-1.amazonaws.com/", "https://1.dkr.ecr.eu-west-1.amazonaws.com", "foreign"],
  ["https://x.vpce.amazonaws.com/", "https://1.dkr.ecr.eu-west-1.amazonaws.com", "foreign"],
  ["https://1.dkr.ecr.eu-west-1.amazonaws.com/", "https://1.dkr.ecr.eu-west-1.amazonaws.com", "trusted"],
  ["https://2.dkr-ecr.eu-west-1.on.aws/", "https://1.dkr-ecr.eu-west-1.on.aws", "foreign"],
  ["https://azurecr.io/token", "https://acme.azurecr.io", "foreign"],
  // Schemes.
  ["http://auth.docker.io/token", "https://registry-1.docker.io", "refused"],
  ["http://ghcr.io/token", "https://ghcr.io", "refused"],
  ["https://auth.example.com/token", "http://reg.example.com", "trusted"],
  ["http://auth.example.com/token", "http://reg.example.com", "trusted"],
  ["http://evil.example/token", "http://reg.example.com", "refused"],
  ["ftp://reg.example.com/token", "https://reg.example.com", "refused"],
  ["file:///etc/passwd", "http://reg.example.com", "refused"],
  // Addresses and names without a domain: exact host and port.
  ["http://127.0.0.1:5000/token", "http://127.0.0.1:5000", "trusted"],
  ["http://127.0.0.1:5001/token", "http://127.0.0.1:5000", "anonymous"],
  ["http://127.0.0.2:5000/token", "http://127.0.0.1:5000", "refused"],
  ["https://10.0.0.2/token", "https://10.0.0.1", "foreign"],
  ["https://[::1]:5000/token", "https://[::1]:5000", "trusted"],
  ["https://[::1]:5001/token", "https://[::1]:5000", "anonymous"],
  ["http://localhost/token", "http://localhost", "trusted"],
  ["http://localhost:81/token", "http://localhost", "anonymous"],
  ["https://localhost/token", "http://localhost:443", "trusted"],
  ["http://auth:5001/token", "http://registry:5000", "refused"],
  ["http://registry:5000/token", "http://registry:5000", "trusted"],
  ["https://com/token", "https://example.com", "foreign"],
  // Letters and dots.
  ["https://AUTH.Docker.IO./token", "https://registry-1.docker.io", "trusted"],
];

for (const [realm, upstream, trust] of rows) {
  test(`${realm} for ${upstream} is ${trust}`, () => {
    assert.equal(judgeRealm(new URL(realm), new URL(upstream)), trust);
    assert.equal(mayReceiveCredentials(new URL(realm), new URL(upstream)), trust === "trusted");
  });
}

const listed: [realm: string, upstream: string, realmHosts: string[], trust: ReturnType<typeof judgeRealm>][] = [
  ["https://authn.nvidia.com/token", "https://nvcr.io", ["authn.nvidia.com"], "trusted"],
  ["https://AUTHN.nvidia.com:443/token", "https://nvcr.io", ["x.example", "Authn.NVIDIA.com"], "trusted"],
  ["https://authn.nvidia.com:8443/token", "https://nvcr.io", ["authn.nvidia.com:8443"], "trusted"],
  ["https://authn.nvidia.com:8443/token", "https://nvcr.io", ["authn.nvidia.com"], "foreign"],
  ["https://sub.authn.nvidia.com/token", "https://nvcr.io", ["authn.nvidia.com"], "foreign"],
  ["https://10.0.0.2/token", "https://10.0.0.1", ["10.0.0.2"], "trusted"],
  ["https://[fd00::2]:5000/token", "https://10.0.0.1", ["[fd00::2]:5000"], "trusted"],
  // Never down from https, whatever is listed.
  ["http://authn.nvidia.com/token", "https://nvcr.io", ["authn.nvidia.com"], "refused"],
  ["https://u:p@authn.nvidia.com/token", "https://nvcr.io", ["authn.nvidia.com"], "refused"],
  ["http://auth:5001/token", "http://registry:5000", ["auth:5001"], "trusted"],
  ["https://evil.example/token", "https://nvcr.io", ["", "*", "/", "evil.example/x@"], "foreign"],
];

for (const [realm, upstream, realmHosts, trust] of listed) {
  test(`${realm} for ${upstream}, with ${realmHosts.join(" and ")} configured, is ${trust}`, () => {
    assert.equal(judgeRealm(new URL(realm), new URL(upstream), realmHosts), trust);
    assert.equal(isListedRealm(new URL("https://registry.example.com/"), realmHosts), false);
  });
}
