// Command coredns is CoreDNS with only the plugins that the local cluster uses: the stock build links the
// clients of three clouds and takes twice as long.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func init() {
	// in the order in which a request passes them
	dnsserver.Directives = []string{"bind", "ready", "errors", "template", "hosts", "kubernetes"}
}

func main() {
	coremain.Run()
}
