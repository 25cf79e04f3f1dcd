# Runs as root in the machine. Each check prints a line: "ok NAME" or "FAIL NAME: reason". "end" is
# the last one; the output after it is for people.

ok() { echo "ok $1"; }
fail() { echo "FAIL $1: $2"; }

# is NAME GOT WANT
is() {
	if [ "$2" = "$3" ]; then ok "$1"; else fail "$1" "got '$2', want '$3'"; fi
}

# succeeds NAME COMMAND...
succeeds() {
	name=$1
	shift
	if out=$("$@" 2>&1); then ok "$name"; else fail "$name" "exit status $?: $(echo "$out" | tail -n 3 | tr '\n' ' ')"; fi
}

# eventually NAME COMMAND...: the command succeeds within five minutes.
eventually() {
	name=$1
	shift
	for _ in $(seq 300); do
		if "$@" >/dev/null 2>&1; then ok "$name"; return; fi
		sleep 1
	done
	fail "$name" "not within 300 tries: $*"
}

prop() { systemctl show --value -p "$1" "${2:-uringhttpd}"; }

# The installation by the README.
cp -R /run/proof/root/. /
succeeds sysusers systemd-sysusers
succeeds tmpfiles systemd-tmpfiles --create uringhttpd.conf
succeeds daemon-reload systemctl daemon-reload
head -c 5000000 /dev/urandom > /srv/firmware/image.raucb
sum=$(sha256sum < /srv/firmware/image.raucb)

# The first start, without a restart of the machine.
succeeds start systemctl start uringhttpd
is active "$(prop ActiveState)" active
is user "$(id -nu "$(awk '/^Uid:/ {print $3}' "/proc/$(prop MainPID)/status")")" uringhttpd
is key-mode "$(stat -c '%a %U %G' /etc/uringhttpd/key.pem)" "600 uringhttpd uringhttpd"
is directory-mode "$(stat -c '%a %U %G' /etc/uringhttpd)" "750 root uringhttpd"
pin=$(journalctl -u uringhttpd-keygen -o cat | sed -n "s/.*--pinnedpubkey '\([^']*\)'.*/\1/p")
succeeds pin-in-journal test -n "$pin"

get() { curl -sS --max-time 120 --insecure --pinnedpubkey "$pin" "$@"; }
is download "$(get https://localhost/image.raucb | sha256sum)" "$sum"
is tls-1.3 "$(get --tlsv1.3 -o /dev/null -w '%{http_code}' https://localhost/image.raucb)" 200
is not-found "$(get -o /dev/null -w '%{http_code}' https://localhost/none)" 404
is range "$(get -r 1000-1999 https://localhost/image.raucb | sha256sum)" "$(tail -c +1001 /srv/firmware/image.raucb | head -c 1000 | sha256sum)"
sent=$(sed -n 's/^TlsTxSw[[:space:]]*//p' /proc/net/tls_stat)
succeeds kernel-tls test "${sent:-0}" -gt 0

# In its sandbox the daemon can read the configuration, write nothing, and read no home directory.
cat > /run/look.sh <<'EOF'
head -n 1 /etc/uringhttpd/uringhttpd.yaml >/dev/null && echo reads
for f in /srv/firmware/x /etc/uringhttpd/x /usr/x; do touch $f 2>/dev/null && echo writes $f; done
ls /root/secret /home/secret 2>/dev/null
EOF
touch /root/secret /home/secret
chmod 0755 /root
chmod 0777 /srv/firmware
is sandbox "$(nsenter -t "$(prop MainPID)" -m setpriv --reuid=uringhttpd --regid=uringhttpd --clear-groups sh < /run/look.sh | tr '\n' ' ')" "reads "
chmod 0755 /srv/firmware

# A restart keeps the key.
before=$(sha256sum < /etc/uringhttpd/key.pem)
succeeds restart systemctl restart uringhttpd
is key-kept "$(sha256sum < /etc/uringhttpd/key.pem)" "$before"

# A complete pair is kept. A key or a certificate that a power failure has truncated is generated
# again, and the damaged file is kept beside it.
is keygen-skipped "$(prop Result uringhttpd-keygen) $(prop ActiveState uringhttpd-keygen)" "exec-condition inactive"
is directory-mode-after-skip "$(stat -c '%a %U %G' /etc/uringhttpd)" "750 root uringhttpd"
truncate -s 300 /etc/uringhttpd/cert.pem
succeeds torn-certificate systemctl restart uringhttpd
is torn-certificate-key "$(sha256sum < /etc/uringhttpd/key.pem)" "$before"
is torn-certificate-download "$(get https://localhost/image.raucb | sha256sum)" "$sum"
is torn-certificate-kept "$(stat -c %s /etc/uringhttpd/cert.pem.broken-1)" 300
truncate -s 0 /etc/uringhttpd/key.pem
touch /etc/uringhttpd/.uringhttpd-keygen-key.pem
succeeds torn-key systemctl restart uringhttpd
is torn-key-mode "$(stat -c '%a %U %G' /etc/uringhttpd/key.pem)" "600 uringhttpd uringhttpd"
is torn-key-files "$(ls -A /etc/uringhttpd | sort | tr '\n' ' ')" "cert.pem cert.pem.broken-1 cert.pem.broken-2 key.pem key.pem.broken-1 uringhttpd.yaml "
is torn-key-directory "$(stat -c '%a %U %G' /etc/uringhttpd)" "750 root uringhttpd"
pin=$(journalctl -u uringhttpd-keygen -o cat | sed -n "s/.*--pinnedpubkey '\([^']*\)'.*/\1/p" | tail -n 1)
is torn-key-download "$(get https://localhost/image.raucb | sha256sum)" "$sum"

# A key from another source is not changed, and the unit does not fail.
cp -a /etc/uringhttpd/key.pem /run/key.pem
echo mine > /etc/uringhttpd/key.pem
systemctl restart uringhttpd 2>/dev/null
is foreign-key "$(cat /etc/uringhttpd/key.pem)" mine
is foreign-key-unit "$(prop ActiveState uringhttpd-keygen)" inactive
cp -a /run/key.pem /etc/uringhttpd/key.pem
systemctl reset-failed uringhttpd 2>/dev/null
systemctl start uringhttpd

# A transfer in progress ends before the service stops.
get --limit-rate 500k https://localhost/image.raucb > /run/slow &
slow=$!
until [ -s /run/slow ]; do sleep 0.1; done
systemctl stop uringhttpd
is stop-result "$(prop Result)" success
wait $slow
is stop-transfer "$(sha256sum < /run/slow)" "$sum"

# An invalid configuration is reported, and the service is not restarted.
cp /etc/uringhttpd/uringhttpd.yaml /run/good.yaml
echo 'nonsense: true' >> /etc/uringhttpd/uringhttpd.yaml
if systemctl start uringhttpd 2>/dev/null; then fail wrong-start "it started"; else ok wrong-start; fi
is wrong-status "$(prop ExecMainStatus)" 78
is wrong-state "$(prop ActiveState)" failed
is wrong-restarts "$(prop NRestarts)" 0
succeeds wrong-logged sh -c 'journalctl -u uringhttpd -o cat | grep -q nonsense'
cp /run/good.yaml /etc/uringhttpd/uringhttpd.yaml
systemctl reset-failed uringhttpd

# After any other exit the service is restarted: a crash of the Go runtime (status 2), SIGKILL, a
# stray SIGTERM, and the OOM killer.
another() { [ "$(prop ActiveState)" = active ] && [ "$(prop MainPID)" != "$pid" ]; }
succeeds crash-start systemctl start uringhttpd
for signal in QUIT KILL TERM; do
	pid=$(prop MainPID)
	kill -$signal "$pid"
	eventually "restarted-after-$signal" another
done
succeeds crash-status sh -c 'journalctl -u uringhttpd -o cat | grep -q "Main process exited, code=exited, status=2/INVALIDARGUMENT"'
pid=$(prop MainPID)
systemctl set-property --runtime uringhttpd MemoryMax=1M
systemctl set-property --runtime uringhttpd MemoryMax=infinity
eventually restarted-after-oom another
succeeds oom-logged sh -c "journalctl -u uringhttpd -o cat | grep -q \"result 'oom-kill'\""
systemctl stop uringhttpd

# A root that is mounted late is served after a restart.
mkdir /mnt/late
sed -i 's|^root:.*|root: /mnt/late/firmware|' /etc/uringhttpd/uringhttpd.yaml
if systemctl start uringhttpd 2>/dev/null; then fail late-start "it started"; else ok late-start; fi
twice() { [ "$(prop NRestarts)" -ge 2 ]; }
eventually late-retried twice
succeeds late-status sh -c 'journalctl -u uringhttpd -o cat | grep -q "Main process exited, code=exited, status=1/FAILURE"'
mount -t tmpfs tmpfs /mnt/late
mkdir /mnt/late/firmware
cp /srv/firmware/image.raucb /mnt/late/firmware
active() { [ "$(prop ActiveState)" = active ]; }
eventually late-active active
is late-download "$(get https://localhost/image.raucb | sha256sum)" "$sum"
systemctl stop uringhttpd
umount /mnt/late
cp /run/good.yaml /etc/uringhttpd/uringhttpd.yaml

# The log says that a filter denies io_uring, and not that the kernel lacks it.
mkdir -p /run/systemd/system/uringhttpd.service.d
printf '[Service]\nSystemCallFilter=~io_uring_setup\n' > /run/systemd/system/uringhttpd.service.d/refuse.conf
systemctl daemon-reload
if systemctl start uringhttpd 2>/dev/null; then fail refused-start "it started"; else ok refused-start; fi
systemctl stop uringhttpd
succeeds refused-logged sh -c 'journalctl -u uringhttpd -o cat | grep -q "a seccomp filter forbids io_uring_setup"'
rm -r /run/systemd/system/uringhttpd.service.d
systemctl daemon-reload
systemctl reset-failed uringhttpd 2>/dev/null

# The unit can be enabled to start at boot.
succeeds enable systemctl enable uringhttpd
succeeds started-again systemctl start uringhttpd

is kernel-log "$(dmesg -l emerg,alert,crit,err | grep -v 'Memory cgroup out of memory' | grep -E 'BUG|WARNING|Oops|tls|uring')" ""
echo end
echo
uname -a
uringhttpd doctor
systemctl status --no-pager uringhttpd uringhttpd-keygen
journalctl --no-pager -o short-monotonic -u 'uringhttpd*'
