# Installs the Debian and npm packages that the tests need; sourced by .ci/run and .ci/nightly.
missing=()
for need in dockerd:docker.io docker:docker.io podman:podman busybox:busybox-static openssl:openssl \
    promtool:prometheus prometheus-node-exporter:prometheus-node-exporter \
    systemd-analyze:systemd npm:npm git:git prove:perl chromium:chromium \
    ip:iproute2 nsenter:util-linux faketime:faketime strace:strace sshd:openssh-server ssh:openssh-client \
    docker-registry:docker-registry; do
    command -v "${need%%:*}" > /dev/null || missing+=("${need##*:}")
done
ldd "$(command -v busybox)" > /dev/null 2>&1 && missing+=(busybox-static) # a dynamic one doesn't run in a container
/usr/bin/python3 -c "import ensurepip" > /dev/null 2>&1 || missing+=(python3-venv) # the hosts of a fleet use this one
if [ "${#missing[@]}" -gt 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
# a parser of TAP 14, since Debian's stops at 13, and a judge of accessibility
tools="${XDG_CACHE_HOME:-$HOME/.cache}/preflight-ci"
export PATH="$tools/node_modules/.bin:$PATH"
system_certificates=/etc/ssl/certs/ca-certificates.crt # npm has its own list only, and would retry for minutes
[ -e "$system_certificates" ] && export NODE_EXTRA_CA_CERTS="${NODE_EXTRA_CA_CERTS:-$system_certificates}"
[ -e "$tools/node_modules/axe-core" ] && command -v tap-parser > /dev/null ||
    npm install --silent --no-fund --no-audit --prefix "$tools" tap-parser@18 axe-core@4
