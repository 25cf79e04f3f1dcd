package cryptoapi

import (
	"encoding/binary"
	"errors"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
)

// message makes a netlink message.
func message(kind uint16, payload []byte) []byte {
	m := make([]byte, netlinkHeader, netlinkHeader+align4(len(payload)))
	binary.NativeEndian.PutUint32(m, uint32(netlinkHeader+len(payload)))
	binary.NativeEndian.PutUint16(m[4:], kind)
	m = append(m, payload...)
	return append(m, make([]byte, align4(len(m))-len(m))...)
}

// algorithm makes a struct crypto_user_alg with an attribute behind it.
func algorithm(name, driver string, flags uint32) []byte {
	b := make([]byte, 208)
	copy(b, name)
	copy(b[64:], driver)
	binary.NativeEndian.PutUint32(b[204:], flags)
	b = binary.NativeEndian.AppendUint16(b, attributeHeader+4)
	b = binary.NativeEndian.AppendUint16(b, cryptoPriority)
	return binary.NativeEndian.AppendUint32(b, 3000)
}

func TestParseRegistered(t *testing.T) {
	one := message(cryptoGetAlg, algorithm("gcm(aes)", "gcm-aes-caam", algKernelDriverOnly|1<<7))
	two := message(cryptoGetAlg, algorithm("gcm(aes)", "generic", 0))
	all, done, err := parseRegistered(nil, append(one, two...))
	if err != nil || done {
		t.Fatalf("done %t, %v", done, err)
	}
	all, done, err = parseRegistered(all, message(unix.NLMSG_DONE, make([]byte, 4)))
	want := []registered{{"gcm-aes-caam", algKernelDriverOnly | 1<<7}, {"generic", 0}}
	if err != nil || !done || !reflect.DeepEqual(all, want) {
		t.Errorf("got %+v, %t, %v; want %+v", all, done, err, want)
	}
	refusal := binary.NativeEndian.AppendUint32(nil, ^uint32(unix.EPERM)+1)
	if _, _, err := parseRegistered(nil, message(unix.NLMSG_ERROR, refusal)); !errors.Is(err, unix.EPERM) {
		t.Errorf("an error of the kernel: %v", err)
	}
	if _, _, err := parseRegistered(all, message(unix.NLMSG_DONE, refusal)); !errors.Is(err, unix.EPERM) {
		t.Errorf("an incomplete list: %v", err)
	}
	for n := 1; n < len(one); n++ {
		if _, _, err := parseRegistered(nil, one[:n]); err == nil {
			t.Fatalf("the first %d bytes count as an answer", n)
		}
	}
	for name, m := range map[string][]byte{
		"a length of 0":     make([]byte, netlinkHeader),
		"a short algorithm": message(cryptoGetAlg, make([]byte, 207)),
		"a short error":     message(unix.NLMSG_ERROR, []byte{1}),
	} {
		if _, _, err := parseRegistered(nil, m); err == nil {
			t.Errorf("%s: counts as an answer", name)
		}
	}
}

func FuzzParseRegistered(f *testing.F) {
	f.Add(message(cryptoGetAlg, algorithm("gcm(aes)", "generic", 0)))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, _, err := parseRegistered(nil, data)
		if err == nil && len(all) > len(data)/208 {
			t.Errorf("%d algorithms in %d bytes", len(all), len(data))
		}
	})
}

// TestMarkHardware: a driver is hardware if it, or a part of it, has the kernel's flag.
func TestMarkHardware(t *testing.T) {
	known := []registered{
		{"gcm-aes-caam", algKernelDriverOnly}, {"ctr-aes-caam", algKernelDriverOnly},
		{"ctr-aes-neonbs", 0}, {"gcm_base(ctr-aes-caam,ghash-neon)", 0},
	}
	for driver, want := range map[string]bool{
		"gcm-aes-caam":                              true,
		"gcm_base(ctr-aes-caam,ghash-neon)":         true,
		"cryptd(gcm_base(ctr-aes-caam,ghash-neon))": true,
		"gcm_base(ctr-aes-neonbs,ghash-neon)":       false,
		"generic-gcm-aesni":                         false,
	} {
		all := []Algorithm{{Driver: driver}}
		if markHardware(all, known); all[0].Hardware != want {
			t.Errorf("%s: hardware %t, want %t", driver, all[0].Hardware, want)
		}
	}
}

// TestMarkHardwareOfThisKernel: NETLINK_CRYPTO lists drivers, or MarkHardware says why it cannot.
func TestMarkHardwareOfThisKernel(t *testing.T) {
	listed, err := readRegistered()
	if (err == nil) != (len(listed) > 0) {
		t.Errorf("%d algorithms, %v", len(listed), err)
	}
	all := []Algorithm{{Driver: "no-such-driver"}}
	if got := MarkHardware(all); (got == nil) != (err == nil) || all[0].Hardware {
		t.Errorf("got %v, hardware %t; the list has %v", got, all[0].Hardware, err)
	}
}
