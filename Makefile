# Each target does its own set-up on a fresh Debian 12 machine with root and Go.
#
#   make quickstart   build everything and bring up scenarios/quickstart.yaml, verified
#   make test         every test, the ones that make real labs included
#   make bench        the figures of the README

# One set of flags for all: the tests find compiled what the build needed, and the builds of
# components (which have the last two as well) what they share with netlab. Nobody debugs
# these programs; without debug information the compiler has a sixth less to do.
export GOFLAGS := -mod=readonly -trimpath -gcflags=all=-dwarf=false
export CGO_ENABLED := 0

# What netlab runs (runc's mounts, nsenter, nft) and what its builds run.
packages := mmdebstrap gcc libc6-dev libseccomp-dev pkg-config util-linux mount iproute2 nftables iptables

.PHONY: quickstart build setup test-setup test unit-test bench clean

quickstart: setup build
	bin/netlab up scenarios/quickstart.yaml

build:
	go build -buildvcs=auto -ldflags '-s -w' -o bin/netlab .

# Installs only what is missing, so that a second run touches no package manager.
setup:
	@missing=; for p in $(packages); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing$$missing"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi

# What the tests run besides, as command:package; whoever packaged the one that is there,
# it will do. Debian's would start as services: policy-rc.d forbids that meanwhile.
test-tools := dockerd:docker.io podman:podman chromium:chromium tshark:tshark iperf3:iperf3 libvirtd:libvirt-daemon qemu-system-x86_64:qemu-system-x86 qemu-img:qemu-utils sshd:openssh-server

test-setup: setup
	@missing=; for t in $(test-tools); do command -v $${t%%:*} >/dev/null || missing="$$missing $${t##*:}"; done; \
	[ -n "$$missing" ] || exit 0; echo "installing$$missing"; policy=/usr/sbin/policy-rc.d; \
	[ -e $$policy ] || { printf '#!/bin/sh\nexit 101\n' >$$policy; chmod +x $$policy; trap 'rm -f $$policy' EXIT; }; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null

# The builds take longest and start first; the unit tests run beside them. Then the
# labs, one package after another: they have the machine for themselves. Nothing that
# needs root, a tool or a lab may skip there, and no registry is asked but Debian's, once: for
# the cloud image of a test (libvirttest.NewImage).
test: test-setup build
	@mkdir -p bin; bin/netlab build scenarios/*.yaml >bin/build.log 2>&1 & builds=$$!; \
	go vet ./... && go test -vet=off -short ./... ; unit=$$?; \
	echo "waiting for the builds of the components (bin/build.log)"; \
	wait $$builds || { cat bin/build.log; exit 1; }; \
	[ $$unit = 0 ] || exit $$unit; \
	NETLAB_OFFLINE=1 NETLAB_TEST_LABS=require NETLAB_COMPONENT_TEST=1 go test -vet=off -count=1 -p 1 -timeout 60m -v ./... >bin/test.log 2>&1; labs=$$?; \
	grep -E '^(ok|FAIL|panic:|---|    ---) ' bin/test.log | grep -v -- '--- PASS' ; \
	[ $$labs = 0 ] || { tail -n 200 bin/test.log; exit 1; }; \
	! grep -E '^ *--- SKIP' bin/test.log || { echo 'a test was skipped'; exit 1; }

unit-test:
	go vet ./... && go test -short ./...

bench: test-setup build
	NETLAB_OFFLINE=1 NETLAB_TEST_LABS=require go test -count=1 -p 1 -timeout 60m -run '^$$' -bench . -benchtime 3x .

clean:
	rm -rf bin
