// The function app on a Flex Consumption plan. settings.bicep has its settings, which are deployed after the roles on the
// vault. A system-assigned identity can get these roles only when the app exists.

import { resourceTags } from '../types.bicep'

param name string
param planName string
param location string
param tags resourceTags

@description('The service\'s name in azure.yaml, by which azd finds the app.')
param serviceName string

@description('Resource id of a user-assigned identity; empty: the app gets a system-assigned identity, which is deleted with it.')
param identityId string

@description('URL of the container for the deployed package.')
param packageUrl string

@description('Memory of an instance in MB. 2048 comes with one core, which the numbers in docs/reference/host.md assume. With 512, the worker\'s peak must fit.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int

@description('Largest number of instances for all functions. An instance has a connection for each mailbox that it drains.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int

@description('Always-ready instances for HTTP.')
@minValue(0)
param alwaysReadyHttp int

@description('Distribute instances over the zones of the region.')
param zoneRedundant bool

@description('Subnet for outbound traffic; empty: directly to the internet.')
param subnetId string

var userAssigned = !empty(identityId)

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundant
  }
}

// Open to the internet: Graph sends its notifications from there, without a sign-in or a client certificate. Its client state
// authenticates a notification.
resource site 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, {
    'azd-service-name': serviceName
  })
  kind: 'functionapp,linux'
  identity: {
    type: userAssigned ? 'UserAssigned' : 'SystemAssigned'
    userAssignedIdentities: userAssigned
      ? {
          '${identityId}': {}
        }
      : null
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    // Without this, references in the settings use the system-assigned identity, which may not exist.
    keyVaultReferenceIdentity: userAssigned ? identityId : 'SystemAssigned'
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    // Flex Consumption rejects ftpsState, linuxFxVersion and other properties of other plans (error 51021).
    siteConfig: {
      minTlsVersion: '1.2'
      http20Enabled: true
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageUrl
          authentication: userAssigned
            ? {
                type: 'UserAssignedIdentity'
                userAssignedIdentityResourceId: identityId
              }
            : {
                type: 'SystemAssignedIdentity'
              }
        }
      }
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        // Python's default is 1: each notification that arrives while another is handled would start an instance.
        triggers: {
          http: {
            perInstanceConcurrency: 100
          }
        }
        alwaysReady: alwaysReadyHttp == 0
          ? []
          : [
              {
                name: 'http'
                instanceCount: alwaysReadyHttp
              }
            ]
      }
    }
  }
}

// azd and Core Tools deploy with the caller's token. Azure refuses these resources without `location` (error 51008), which their
// type lacks: github.com/Azure/bicep-types-az/issues/1529.
resource noFtpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: site
  name: 'ftp'
  #disable-next-line BCP187
  location: location
  properties: {
    allow: false
  }
}

resource noScmPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: site
  name: 'scm'
  #disable-next-line BCP187
  location: location
  properties: {
    allow: false
  }
}

output hostName string = site.properties.defaultHostName

@description('Object id of the system-assigned identity; empty if the app has none.')
output principalId string = userAssigned ? '' : site.identity.principalId
