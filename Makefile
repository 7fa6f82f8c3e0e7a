# Each target does its own set-up on a fresh Debian 12 machine with root and Go.
#
#   make quickstart   build everything and bring up scenarios/quickstart.yaml, verified
#   make test         every test on namespaces, real labs with every CNI included
#   make test-all     the same, then labs on kind (Docker, Podman) and virtual machines
#   make bench        the figures of the README

# One set of flags for all: the tests find compiled what the build needed, and the builds of
# components (which have the last two as well) what they share with netlab. Nobody debugs
# these programs; without debug information the compiler has a sixth less to do.
export GOFLAGS := -mod=readonly -trimpath -gcflags=all=-dwarf=false
export CGO_ENABLED := 0

# What netlab runs (runc's mounts, nsenter, nft) and what its builds run.
packages := mmdebstrap gcc libc6-dev libseccomp-dev pkg-config util-linux mount iproute2 nftables iptables

.PHONY: quickstart build setup test test-all unit-test bench clean

quickstart: setup build
	bin/netlab up scenarios/quickstart.yaml

build:
	go build -buildvcs=auto -ldflags '-s -w' -o bin/netlab .

# Installs only what is missing, so that a second run touches no package manager.
setup:
	@missing=; for p in $(packages); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing$$missing"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi

# What tests run besides, as command:package; whoever packaged the one that is there, it
# will do. Debian's would start as services: policy-rc.d forbids that meanwhile.
test-tools := chromium:chromium tshark:tshark iperf3:iperf3
provider-tools := dockerd:docker.io podman:podman libvirtd:libvirt-daemon qemu-system-x86_64:qemu-system-x86 qemu-img:qemu-utils sshd:openssh-server

define install
missing=; for t in $(1); do command -v $${t%%:*} >/dev/null || missing="$$missing $${t##*:}"; done; \
[ -z "$$missing" ] || ( echo "installing$$missing"; policy=/usr/sbin/policy-rc.d; \
[ -e $$policy ] || { printf '#!/bin/sh\nexit 101\n' >$$policy; chmod +x $$policy; trap 'rm -f $$policy' EXIT; }; \
apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null )
endef

# Tests that make labs, the machine to themselves: one package after another. Nothing that
# needs root, a tool or a lab may skip there, and no registry is asked but Debian's, once:
# for the cloud image of a test (libvirttest.NewImage).
define labs
NETLAB_OFFLINE=1 NETLAB_TEST_LABS=require NETLAB_COMPONENT_TEST=1 go test -vet=off -count=1 -p 1 -timeout 60m -v $(1) >$(2) 2>&1; labs=$$?; \
grep -E '^(ok|FAIL|panic:|---|    ---) ' $(2) | grep -v -- '--- PASS' ; \
[ $$labs = 0 ] || { tail -n 200 $(2); exit 1; }; \
! grep -E '^ *--- SKIP' $(2) || { echo 'a test was skipped'; exit 1; }
endef

# Docker, Podman and virtual machines take most of the time of all tests; what they need is
# neither installed nor asked for by the others.
providers := netlab.dev/netlab/providers/kind/... netlab.dev/netlab/providers/libvirt/...

# The builds take longest and start first; the unit tests run beside them.
test: setup build
	@mkdir -p bin; bin/netlab build scenarios/*.yaml >bin/build.log 2>&1 & builds=$$!; \
	$(call install,$(test-tools)) || exit 1; \
	go vet ./... && go test -vet=off -short ./... ; unit=$$?; \
	echo "waiting for the builds of the components (bin/build.log)"; \
	wait $$builds || { cat bin/build.log; exit 1; }; \
	[ $$unit = 0 ] || exit $$unit; \
	others=$$(go list ./... | grep -vxF "$$(go list $(providers))"); \
	$(call labs,$$others,bin/test.log)

test-all: test
	@$(call install,$(provider-tools))
	@$(call labs,$(providers),bin/test-providers.log)

unit-test:
	go vet ./... && go test -short ./...

bench: setup build
	@$(call install,$(test-tools) $(provider-tools))
	NETLAB_OFFLINE=1 NETLAB_TEST_LABS=require go test -count=1 -p 1 -timeout 60m -run '^$$' -bench . -benchtime 3x ./bench

clean:
	rm -rf bin
