package service

import (
	"crypto/x509"
	"net"
	"testing"
	"time"
)

// TestUsableCertificatesCauseOnlyWarnings: certificates that some clients reject, or that are valid
// at another time, do not prevent the start.
func TestUsableCertificatesCauseOnlyWarnings(t *testing.T) {
	p := newPKI(t)
	p.make("nameless", "intermediate", "", nil)
	p.make("by address", "intermediate", "", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)} })
	p.make("expired", "intermediate", "", func(c *x509.Certificate) { forBoard(c); c.NotAfter = time.Now().Add(-time.Minute) })
	p.make("future", "intermediate", "", func(c *x509.Certificate) { forBoard(c); c.NotBefore = time.Now().Add(time.Minute) })
	p.make("old intermediate", "root", "", func(c *x509.Certificate) { authority(c); c.NotAfter = time.Now().Add(-time.Minute) })
	p.make("below", "old intermediate", "", forBoard)
	p.make("client", "intermediate", "", func(c *x509.Certificate) {
		forBoard(c)
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	p.make("server", "intermediate", "", func(c *x509.Certificate) {
		forBoard(c)
		c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	p.make("agreement", "intermediate", "", func(c *x509.Certificate) { forBoard(c); c.KeyUsage = x509.KeyUsageKeyAgreement })
	p.make("no signer", "root", "", func(c *x509.Certificate) { authority(c); c.KeyUsage = x509.KeyUsageDigitalSignature })
	for _, tt := range []struct {
		name, certificate, key, clientCA string
		want                             []string
	}{
		{"none", p.cert("server", "intermediate"), p.key("server"), p.cert("root"), nil},
		{"an address is a name", p.cert("by address"), p.key("by address"), "", nil},
		{"no name", p.cert("nameless"), p.key("nameless"), "", []string{"4: tls.certificate: certificate:1: block 1 has no name"}},
		{"expired", p.cert("expired"), p.key("expired"), "", []string{"4: tls.certificate: certificate:1: block 1 has expired"}},
		{"not valid yet", p.cert("future"), p.key("future"), "", []string{"4: tls.certificate: certificate:1: block 1 is not valid yet"}},
		{"intermediate expired", p.cert("below", "old intermediate"), p.key("below"), "", []string{"4: tls.certificate: certificate:"}},
		{"for clients", p.cert("client"), p.key("client"), "", []string{"4: tls.certificate: certificate:1: block 1 is not for a TLS server"}},
		{"no signature", p.cert("agreement"), p.key("agreement"), "", []string{"4: tls.certificate: certificate:1: block 1 may not sign"}},
		{"authority expired", p.cert("leaf"), p.key("leaf"), p.cert("old intermediate"), []string{"6: tls.client_ca: client_ca:1: block 1 has expired"}},
		{"no authority", p.cert("leaf"), p.key("leaf"), p.cert("server"), []string{"6: tls.client_ca: client_ca:1: block 1 is not a certificate authority"}},
		{"authority that may not sign", p.cert("leaf"), p.key("leaf"), p.cert("no signer"), []string{"6: tls.client_ca: client_ca:1: block 1 may not sign certificates"}},
		{"key among the authorities", p.cert("leaf"), p.key("leaf"), p.cert("root") + p.key("root"), []string{"6: tls.client_ca: client_ca:"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			problems, warnings, _ := openPEM(t, tt.certificate, tt.key, tt.clientCA)
			want := make([]string, len(tt.want))
			for i := range want {
				want[i] = "f:" + tt.want[i]
			}
			match(t, "problem", problems, nil)
			match(t, "warning", warnings, want)
		})
	}
}
