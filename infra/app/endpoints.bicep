// Private endpoints: an address in the virtual network for each service that the app uses.

param location string
param tags object = {}
param prefix string
param subnetId string

@description('[{ name: \'app-queue\', resourceId: \'…\', group: \'queue\', zoneId: \'…\' }]')
param targets array

resource endpoints 'Microsoft.Network/privateEndpoints@2024-05-01' = [for target in targets: {
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
}]

resource names 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01' = [for (target, number) in targets: {
  parent: endpoints[number]
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: target.group
        properties: {
          privateDnsZoneId: target.zoneId
        }
      }
    ]
  }
}]
