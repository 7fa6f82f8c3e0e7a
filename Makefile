# Every target does its set-up itself on a fresh machine of Debian 12 or 13 with root and Go.
# `make help` lists the targets.

.DEFAULT_GOAL := help

# One set of flags for all: the tests find compiled what the build needed, and the builds of
# components (which have the last two as well) what they share with netlab. These
# programs are not debugged; without debug information the compiler has a sixth less to do.
export GOFLAGS := -mod=readonly -trimpath -gcflags=all=-dwarf=false
export CGO_ENABLED := 0

# What `netlab version` prints: the tag, or the last tag and the commit since.
version := $(shell git describe --tags --always --dirty 2>/dev/null)

# What netlab runs (runc's mounts, nsenter, nft) and what its builds run.
packages := mmdebstrap gcc libc6-dev libseccomp-dev pkg-config util-linux mount iproute2 nftables iptables

# What tests run besides, as command:package. Any package that has the command will do.
test-tools := chromium:chromium tshark:tshark iperf3:iperf3
ci-tools := dockerd:docker.io libvirtd:libvirt-daemon qemu-system-x86_64:qemu-system-x86 qemu-img:qemu-utils
provider-tools := $(ci-tools) podman:podman sshd:openssh-server
pulumi-tools := npm:npm

# The labs whose components `make test` builds: those of the tests that CI runs, and no others.
test-labs := $(addprefix scenarios/,quickstart.yaml cni-matrix.yaml ha.yaml spine-leaf.yaml shop.yaml virtual-machines.yaml)

# kind and libvirt: their labs take most of the time of all tests, and tools that the other
# packages do not need. CI runs one lab of each. And a lab of which all is pulled, for which an
# equivalent of kindest/node is built, and labs of Pulumi, whose engine is built.
providers := ./providers/kind/... ./providers/libvirt/... ./e2e/pulled ./e2e/pulumi
ci-providers := ./providers/kind ./providers/libvirt
ci-labs := TestDocker TestUpDown
space := $() $()

# Tests that only `make test-all` runs: of second versions (MetalLB with BGP is one), which take a build of
# their own, and of the longest labs.
later := -skip '^(TestVersions|TestBGP|TestLoadBalancerByHand|TestCloud|TestCompare)$$'

.PHONY: help check-go quickstart build pulumi setup test test-ci test-pulumi test-all unit-test lint bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Go before 1.21 cannot read go.mod; later ones fetch the version that it names.
check-go:
	@go mod edit -json >/dev/null || { echo 'Go is not installed or too old: see docs/install.md' >&2; exit 1; }

quickstart: check-go setup build ## build everything, create the lab of scenarios/quickstart.yaml and verify it
	bin/netlab up scenarios/quickstart.yaml

build: check-go ## build bin/netlab
	go build -buildvcs=auto -ldflags '-s -w -X netlab.dev/netlab/cli.release=$(version)' -o bin/netlab .

# A plugin of its own: in netlab Pulumi's SDK would cost a quarter of the size. The SDKs are
# generated, and so not committed.
pulumi: build ## build Pulumi's plugin bin/pulumi-resource-netlab, and its SDKs in bin/pulumi-sdk
	go build -buildvcs=auto -ldflags '-s -w -X main.release=$(version)' -o bin/pulumi-resource-netlab ./pulumi/pulumi-resource-netlab
	bin/pulumi-resource-netlab schema >bin/pulumi-schema.json
	go -C pulumi/codegen run . $(CURDIR)/bin/pulumi-schema.json $(CURDIR)/bin/pulumi-sdk

# Installs only what is missing, so that a second run starts no package manager.
setup: ## install the Debian packages that netlab needs (root)
	@missing=; for p in $(packages); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing$$missing"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi

# Some of Debian's packages would start a service: policy-rc.d prevents that.
define install
missing=; for t in $(1); do command -v $${t%%:*} >/dev/null || missing="$$missing $${t##*:}"; done; \
[ -z "$$missing" ] || ( echo "installing$$missing"; policy=/usr/sbin/policy-rc.d; \
[ -e $$policy ] || { printf '#!/bin/sh\nexit 101\n' >$$policy; chmod +x $$policy; trap 'rm -f $$policy' EXIT; }; \
apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null )
endef

# $(call labs,PACKAGES AND FLAGS,LOG): tests that make labs, one package after another, since
# each has the machine to itself. A skipped test is a failure here. No registry is asked but
# Debian's, once, for the cloud image of a test (libvirttest.NewImage).
define labs
echo "labs of $(1) (log: $(2))"; \
NETLAB_SOURCES=build NETLAB_TEST_LABS=require NETLAB_COMPONENT_TEST=1 go test -vet=off -count=1 -p 1 -timeout 90m -v $(1) >$(2) 2>&1; labs=$$?; \
grep -E '^(ok|FAIL|panic:) |^ *--- (FAIL|SKIP)' $(2); \
echo "$$(grep -cE '^ *--- PASS' $(2)) passed, $$(grep -cE '^ *--- FAIL' $(2)) failed, $$(grep -cE '^ *--- SKIP' $(2)) skipped"; \
[ $$labs = 0 ] || { awk -f .ci/failures.awk $(2) | tail -n 150; grep -A 40 -m 1 '^panic:' $(2); exit 1; }; \
! grep -qE '^ *--- SKIP' $(2) || { echo 'a test was skipped that may not be skipped here'; exit 1; }
endef

# The builds take longest and start first; the unit tests run at the same time.
test: setup build ## run the unit tests and real labs on namespaces, with every CNI (root)
	@mkdir -p bin; bin/netlab build $(test-labs) >bin/build.log 2>&1 & builds=$$!; \
	$(call install,$(test-tools)) || exit 1; \
	go vet ./... && go test -vet=off -short ./... ; unit=$$?; \
	echo "waiting for the builds of the components (log: bin/build.log)"; \
	wait $$builds || { cat bin/build.log; exit 1; }; \
	[ $$unit = 0 ] || exit $$unit; \
	others=$$(go list ./... | grep -vxF "$$(go list $(providers))" | tr '\n' ' '); \
	$(call labs,$(later) $$others,bin/test.log)

test-ci: test ## the same, then one lab on kind (Docker) and one of virtual machines: CI
	@$(call install,$(ci-tools))
	@$(call labs,-run '^($(subst $(space),|,$(ci-labs)))$$' $(ci-providers),bin/test-ci.log)
	@for t in $(ci-labs); do grep -q -- "^--- PASS: $$t " bin/test-ci.log || { echo "$$t did not run"; exit 1; }; done

# The labs run without a network, so that their components are built first.
test-pulumi: setup build ## labs of Pulumi, whose engine is built first (root)
	@$(call install,$(pulumi-tools))
	@bin/netlab build scenarios/quickstart.yaml >bin/build.log 2>&1 || { cat bin/build.log; exit 1; }
	@$(call labs,./e2e/pulumi,bin/test-pulumi.log)

test-all: export NETLAB_TEST_GENERATED := 11
test-all: export NETLAB_TEST_EXERCISES := all
test-all: later :=
test-all: test ## the same as test, then all labs on kind and libvirt, and of Pulumi
	@$(call install,$(provider-tools) $(pulumi-tools))
	@bin/netlab build scenarios/*.yaml >bin/build.log 2>&1 || { cat bin/build.log; exit 1; }
	@$(call labs,$(providers),bin/test-all.log)

unit-test: ## run what needs neither root nor a lab
	go vet ./... && go test -vet=off -short ./...

lint: ## run golangci-lint (.golangci.yml)
	golangci-lint run

bench: setup build ## print the figures of docs/benchmarks.md (root)
	@$(call install,$(test-tools) $(provider-tools))
	NETLAB_SOURCES=build NETLAB_TEST_LABS=require go test -vet=off -count=1 -p 1 -timeout 60m -run '^$$' -bench . -benchtime 3x ./bench

clean: ## remove bin/
	rm -rf bin
