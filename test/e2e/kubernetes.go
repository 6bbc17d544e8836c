// All programs of a small Kubernetes in one, which is that by whose name it is called: so each package is compiled once, and
// there is one thing to link. test/e2e/install-kubernetes builds it. containerd's shim is apart: one runs for each pod.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	_ "github.com/containerd/containerd/v2/cmd/containerd/builtins"
	containerd "github.com/containerd/containerd/v2/cmd/containerd/command"
	ctr "github.com/containerd/containerd/v2/cmd/ctr/app"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	background := context.Background()
	switch name := filepath.Base(os.Args[0]); name {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		end(apiserver.NewAPIServerCommand())
	case "kube-controller-manager":
		end(controllers.NewControllerManagerCommand())
	case "kube-scheduler":
		end(scheduler.NewSchedulerCommand())
	case "kube-proxy":
		end(proxy.NewProxyCommand())
	case "kubelet":
		end(kubelet.NewKubeletCommand(background))
	case "kubectl":
		end(kubectl.NewDefaultKubectlCommand())
	case "containerd":
		fail(containerd.App().Run(background, os.Args))
	case "ctr":
		fail(ctr.New().Run(background, os.Args))
	case "coredns":
		dnsserver.Directives = []string{"errors", "kubernetes"}
		coremain.Run()
	default:
		fail(fmt.Errorf("%s is none of the programs", name))
	}
}

func end(command *cobra.Command) {
	os.Exit(cli.Run(command))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
