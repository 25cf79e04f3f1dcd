# uringhttpd: see README.md. Every target works on a Debian machine with Go.

VERSION := 0.1.0
GOFLAGS_BUILD := -trimpath -ldflags='-s -w -X main.Version=$(VERSION)'
DESTDIR :=
PREFIX := /usr
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
TAGS := board,clients,debian,mutants,netns,oracle,yocto
export CGO_ENABLED := 0

.PHONY: all arm64 arm run test test-all test-unit test-race test-mutants test-oracle test-simulation test-oldest test-netns test-clients test-board test-boards matrix soak test-debian packages pins lint fuzz board picture bench bench-parts install deb clean

all:
	go build $(GOFLAGS_BUILD) -o build/uringhttpd .

arm64:
	GOARCH=arm64 go build $(GOFLAGS_BUILD) -o build/arm64/uringhttpd .

arm:
	GOARCH=arm GOARM=7 go build $(GOFLAGS_BUILD) -o build/arm/uringhttpd .

# Serves sample files from build/run until Ctrl-C.
run: all
	test/run build/uringhttpd build/run

# All tests that CI runs, in under 20 minutes on two cores; the parts can be run alone.
# The log names each test that is left for test-all.
test: packages test-race test-mutants lint test-oldest test-oracle test-simulation test-netns test-clients test-board

# The same with every emulated board, every engine and full counts.
test-all: SEEDS := 14000
test-all: packages test-race test-mutants lint test-oldest test-oracle test-simulation test-netns test-clients test-boards

# Needs neither root nor a network.
test-unit:
	go test -timeout 25m ./...

# The same with the race detector, which takes three times as long. The packages with the
# longest tests start first, beside the others.
test-race:
	CGO_ENABLED=1 go test -race -timeout 25m ./service/server . ./service/files ./...

# Mutants of the daemon (test/wrong), each of which the tests that are meant to catch it must
# fail, for the reason that it is wrong.
test-mutants:
	go test -count=1 -tags mutants -parallel $$(($$(nproc) + 1)) -timeout 25m ./test/wrong

# The oldest Go that go.mod allows; Yocto releases in use ship it.
test-oldest:
	GOTOOLCHAIN=go$$(awk '$$1 == "go" { print $$2 }' go.mod) go build -o build/oldest/uringhttpd .

# giouring uses runtime internals that a current Go does not link.
test-oracle:
	go test -count=1 -tags oracle -ldflags=-checklinkname=0 ./uring

# Connections with simulated kernels and clients, which a seed determines.
SEEDS := 4000
test-simulation:
	go test -count=1 -run '^TestSimulation$$' ./service/server -sim.seeds $(SEEDS)

test-netns:
	go test -count=1 -tags netns ./test/netns
	go test -count=1 -tags netns -run '^TestSameHostAddresses$$' ./service/server

# Update clients that Debian packages.
test-clients:
	go test -count=1 -tags clients ./test/clients

# Emulated machines: boards, a part of the matrix, and Debian with systemd (test-debian);
# the log names the tests left for test-boards. Kernels are kept in the user's cache
# directory. ONLY=amd64-cryptd boots one board, and FULL=1 tests everything on it; a comma
# separates several. Most of the time the tests wait for slow clients, so more machines
# run than processors.
ONLY :=
FULL :=
AT_ONCE := $(shell echo $$((2 * $$(nproc))))
test-board:
	go test -count=1 -parallel $(AT_ONCE) -timeout 40m -v $(if $(ONLY),-tags board ./test/board -run '^TestBoards$$' -board.only $(ONLY) $(if $(FULL),-board.full),-tags board$(comma)debian ./test/board/... ./test/debian)

comma := ,

test-boards: test-debian | build
	go test -count=1 -tags board -parallel $(AT_ONCE) -timeout 6h -v ./test/board -board.full -board.table $(CURDIR)/build/matrix.md -board.controls $(CURDIR)/build/controls.md

# Only the matrix of machines, ciphers, clients, sizes and networks, and faulty servers in
# the same harness; the tables are left in build.
matrix: | build
	go test -count=1 -tags board -parallel $(AT_ONCE) -timeout 6h -v ./test/board -run '^(TestMatrix|TestControls)$$' -board.full -board.table $(CURDIR)/build/matrix.md -board.controls $(CURDIR)/build/controls.md

# Random cells of that matrix: make soak SOAK=8h SEED=7. The table is left in build.
SOAK := 1h
SEED := 1
soak: | build
	go test -count=1 -tags board -parallel $(AT_ONCE) -timeout 0 -v ./test/board -run '^TestSoak$$' -board.soak $(SOAK) -board.seed $(SEED) -board.table $(CURDIR)/build/soak.md

build:
	mkdir -p build

# Debian with systemd: make install, systemctl start, curl.
test-debian:
	go test -count=1 -tags debian -timeout 30m -v ./test/debian

packages:
	test/packages

# Moves the kernels, QEMU and nginx of the board tests to the newest versions in Debian's
# archive. Run the tests afterwards, and commit the file.
pins:
	mkdir -p build
	go run ./test/board/debian/pin >build/pins.txt
	mv build/pins.txt test/board/debian/pins.txt
	git --no-pager diff --stat test/board/debian/pins.txt

# The grep finds comments without a noun: see CONTRIBUTING.md. All tags are set: no file has
# a tag that excludes it from such a build.
lint:
	@! grep -rnE '^[[:space:]]*//.*\b([Ww]hat|[Ww]ho|[Ww]hom)\b' --include='*.go' . || { echo 'name the thing in these comments'; exit 1; }
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt -w $$unformatted"; exit 1; }
	GOARCH=arm64 go vet ./...
	GOARCH=arm go vet ./...
	go vet -tags $(TAGS) ./...
	go run $(STATICCHECK) -tags $(TAGS) ./...

# One minute for each parser; FUZZTIME=10m for more.
FUZZTIME := 1m
fuzz:
	for package in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
	    CGO_ENABLED=1 go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$package || exit 1; \
	  done; \
	done

# CPU time and rate beside nginx, lighttpd, h2o and Go's net/http (go doc ./test/bench);
# installs them, and needs root, two processors and an otherwise idle machine.
# ROW='1 KiB' measures only rows with such a name, and writes nothing; BASELINE=path
# compares another build of the daemon, too.
ROW :=
BASELINE :=
bench: all
	test/bench/packages
	go build -o build/bench ./test/bench
	build/bench $(if $(BASELINE),-baseline $(BASELINE)) $(if $(ROW),-row '$(ROW)',-out docs)

# The cost of single design decisions, relative to builds without them; needs the same.
bench-parts:
	go test -tags netns -run '^$$' -bench . -benchtime 80x -timeout 30m ./test/netns

# The picture of docs/kernel-tls-async.md, from stored measurements; to repeat them:
# go test -count=1 -tags board ./test/board -run TestPicture -board.csv docs/picture/pending.csv
picture:
	go run ./docs/picture <docs/picture/pending.csv >docs/kernel-tls-async.svg

# An emulated i.MX 8M Plus that serves a sample file, until Ctrl-C.
board:
	go build -o build/emulate ./test/board/emulate
	build/emulate

deb:
	@echo "make $@ is not implemented yet" >&2; exit 1

# Builds nothing, so that sudo make install needs no Go. systemd looks below /usr and
# /usr/local only, so with another PREFIX the units go to the latter.
SYSTEMD_LIB = $(if $(filter /usr,$(PREFIX)),/usr,/usr/local)/lib
UNIT = sed 's|/usr/bin/uringhttpd|$(PREFIX)/bin/uringhttpd|'

install:
	@test -x build/uringhttpd || { echo "make install: build/uringhttpd is missing. Run make first, as a user with Go." >&2; exit 1; }
	install -D -m 0755 build/uringhttpd $(DESTDIR)$(PREFIX)/bin/uringhttpd
	install -d $(DESTDIR)$(SYSTEMD_LIB)/systemd/system
	for unit in uringhttpd.service uringhttpd-keygen.service; do \
	  $(UNIT) systemd/$$unit >$(DESTDIR)$(SYSTEMD_LIB)/systemd/system/$$unit && chmod 0644 $(DESTDIR)$(SYSTEMD_LIB)/systemd/system/$$unit || exit 1; \
	done
	install -D -m 0644 systemd/uringhttpd.sysusers $(DESTDIR)$(SYSTEMD_LIB)/sysusers.d/uringhttpd.conf
	install -D -m 0644 systemd/uringhttpd.tmpfiles $(DESTDIR)$(SYSTEMD_LIB)/tmpfiles.d/uringhttpd.conf
	install -D -m 0644 systemd/uringhttpd.modules-load $(DESTDIR)$(SYSTEMD_LIB)/modules-load.d/uringhttpd.conf
	test -e $(DESTDIR)/etc/uringhttpd/uringhttpd.yaml || install -D -m 0644 config/uringhttpd.yaml $(DESTDIR)/etc/uringhttpd/uringhttpd.yaml
	test -n "$(DESTDIR)" || { systemd-sysusers uringhttpd.conf && systemd-tmpfiles --create uringhttpd.conf; }
	test -n "$(DESTDIR)" || test ! -d /run/systemd/system || systemctl daemon-reload

clean:
	rm -rf build
