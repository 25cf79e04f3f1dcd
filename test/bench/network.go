package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// The server's and the client's address.
const (
	serverAddress = "192.0.2.1" // TEST-NET-1, RFC 5737
	clientAddress = "192.0.2.2"
)

// A network is two network namespaces joined by a veth pair.
type network struct {
	server, client string // names of the namespaces
}

func newNetwork(ctx context.Context) (n *network, err error) {
	n = &network{server: fmt.Sprintf("bench-%d-s", os.Getpid()), client: fmt.Sprintf("bench-%d-c", os.Getpid())}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	for _, line := range []string{
		"netns add " + n.server,
		"netns add " + n.client,
		"-n " + n.server + " link add veth0 type veth peer name veth0 netns " + n.client,
		"-n " + n.server + " address add " + serverAddress + "/24 dev veth0",
		"-n " + n.client + " address add " + clientAddress + "/24 dev veth0",
		"-n " + n.server + " link set lo up",
		"-n " + n.server + " link set veth0 up",
		"-n " + n.client + " link set veth0 up",
	} {
		if _, err := run(ctx, "ip", strings.Fields(line)...); err != nil {
			return n, err
		}
	}
	for _, name := range []string{n.server, n.client} {
		// BBR's rate over such a link has two modes.
		if _, err := run(ctx, "ip", "netns", "exec", name, "sh", "-c", "echo reno >/proc/sys/net/ipv4/tcp_congestion_control; echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse"); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (n *network) close() error {
	var all []error
	for _, name := range []string{n.server, n.client} {
		if _, err := os.Stat("/run/netns/" + name); err != nil {
			continue
		}
		_, err := run(context.Background(), "ip", "netns", "delete", name)
		all = append(all, err)
	}
	return errors.Join(all...)
}

// command returns a command for a namespace and a processor. The process that starts becomes
// the program itself.
func command(ctx context.Context, namespace string, cpu int, argv ...string) *exec.Cmd {
	args := append([]string{"netns", "exec", namespace, "taskset", "-c", fmt.Sprint(cpu)}, argv...)
	return exec.CommandContext(ctx, "ip", args...)
}

// run returns the output of a program; an error has its standard error.
func run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
