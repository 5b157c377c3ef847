// For the parameter privateNetwork: a virtual network for all outbound traffic of the app, with a fixed public address,
// which mail servers may allow, and the DNS zones of the private endpoints.
// The notification function stays reachable from the internet, since Graph calls it.

import { dnsZoneIds as zoneIds, resourceTags } from '../types.bicep'

param name string
param location string
param tags resourceTags

@description('Address range; it must not overlap with networks that may be connected later.')
param addressPrefix string = '10.20.0.0/24'

var zones = [
  'privatelink.blob.${environment().suffixes.storage}'
  'privatelink.queue.${environment().suffixes.storage}'
  'privatelink.table.${environment().suffixes.storage}'
  'privatelink${replace(environment().suffixes.keyvaultDns, '.vault.', '.vaultcore.')}'
]

resource address 'Microsoft.Network/publicIPAddresses@2026-03-01' = {
  name: '${name}-out'
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIPAllocationMethod: 'Static'
  }
}

// Subnets no longer have default outbound access, and IMAP, POP3 and Graph are on the internet.
resource gateway 'Microsoft.Network/natGateways@2026-03-01' = {
  name: '${name}-out'
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    idleTimeoutInMinutes: 4
    publicIpAddresses: [
      {
        id: address.id
      }
    ]
  }
}

// The default rules suffice: they allow inbound traffic from the virtual network and deny it from the internet.
resource rules 'Microsoft.Network/networkSecurityGroups@2026-03-01' = {
  name: '${name}-rules'
  location: location
  tags: tags
}

resource network 'Microsoft.Network/virtualNetworks@2026-03-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [
        addressPrefix
      ]
    }
    // Subnets inside the network resource: as separate resources, each deployment would delete and recreate them.
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 25, 0)
          natGateway: {
            id: gateway.id
          }
          networkSecurityGroup: {
            id: rules.id
          }
          delegations: [
            {
              name: 'flex-consumption'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 27, 4)
          networkSecurityGroup: {
            id: rules.id
          }
        }
      }
    ]
  }
}

resource dns 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for zone in zones: {
    name: zone
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (zone, number) in zones: {
    parent: dns[number]
    name: name
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: network.id
      }
    }
  }
]

@description('The address from which mail servers see connections of the app.')
output outboundAddress string = address.properties.ipAddress

output dnsZoneIds zoneIds = {
  blob: dns[0].id
  queue: dns[1].id
  table: dns[2].id
  vault: dns[3].id
}
