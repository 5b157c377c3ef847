// Private endpoints: an address in the virtual network for each service that the app uses.

import { dnsZoneIds as zoneIds, endpointTarget, resourceTags } from '../types.bicep'

param location string
param tags resourceTags
param prefix string
param subnetId string

param targets endpointTarget[]

@description('Private DNS zones, by the services\' names; null without writeRecords.')
param dnsZoneIds zoneIds?

@description('Write the endpoints\' addresses to the DNS zones.')
param writeRecords bool

// One after the other: an account refuses a second endpoint while it accepts the first (StorageAccountOperationInProgress).
@batchSize(1)
resource endpoints 'Microsoft.Network/privateEndpoints@2026-03-01' = [
  for target in targets: {
    name: '${prefix}-${target.name}'
    location: location
    tags: tags
    properties: {
      subnet: {
        id: subnetId
      }
      privateLinkServiceConnections: [
        {
          name: target.name
          properties: {
            privateLinkServiceId: target.resourceId
            groupIds: [
              target.group
            ]
          }
        }
      ]
    }
  }
]

@batchSize(1)
resource records 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2026-03-01' = [
  for (target, number) in targets: if (writeRecords) {
    parent: endpoints[number]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: target.group
          properties: {
            privateDnsZoneId: dnsZoneIds![target.group]
          }
        }
      ]
    }
  }
]
